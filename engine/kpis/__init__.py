"""What an operator watches: the key figures of a shop, their limits, and how one is read. Values, no measuring."""
