"""What targets get, and what follows from their answers."""
