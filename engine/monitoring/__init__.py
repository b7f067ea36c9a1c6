"""Measures the key figures of a shop, keeps their history, and sends alerts where one is crossed."""
