"""The audit: who did what, when and why, and what came of it. Its storage is in `stores/`."""
