"""The systems that pages are delivered to, one file a kind. Each keeps the contract of `target_kind.py`."""
