"""The change feed: what followers of the pages get, from Python, over HTTP and at the command line."""
