"""What operators ask workers to do, and what came of it. How it is done is in `pagefold.engine.schedule`."""
