"""Readers of what other systems send: requests become statements by the contract of their source."""
