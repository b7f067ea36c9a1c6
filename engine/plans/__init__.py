"""Plans: what pages would be under another configuration, by the same fold, without writing."""
