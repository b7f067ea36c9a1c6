"""The consumers, one a domain: checkpoint, lease, pace and failures. What they do in a transaction is in `folding/`."""
