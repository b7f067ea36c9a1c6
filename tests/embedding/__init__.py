"""The server inside another application."""
