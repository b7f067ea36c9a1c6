"""Complete configurations for the systems that shops have: a folder each, which `pagefold init --with` copies."""
