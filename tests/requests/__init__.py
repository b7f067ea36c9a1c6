"""What operators ask workers for."""
