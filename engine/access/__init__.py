"""Who may do what: tokens, made, listed, revoked and verified. What a grant allows is in `stores/grants.py`."""
