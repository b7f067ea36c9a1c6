"""Access: tokens are created, listed, revoked and verified. `stores/grants.py` has what a grant allows."""
