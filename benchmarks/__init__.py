"""How fast Pagefold is, beside what its databases can do and beside the `eventsourcing` library: in ratios."""
