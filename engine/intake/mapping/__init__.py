"""The types that payloads expect, and how values of files and databases become them."""
