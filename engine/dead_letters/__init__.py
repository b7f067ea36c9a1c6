"""What needs a person: dead letters shown, retried, corrected, discarded and removed. Their storage is in `stores/`."""
