"""Dead letters: shown, retried, corrected, discarded and removed. Their storage is in `stores/`."""
