"""The consumers, one a domain: checkpoint, lease, pace and failures. `folding/` has what they do in a transaction."""
