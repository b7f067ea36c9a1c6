"""Plans and differences: what pages would be in another view, by the same fold, without writing."""
