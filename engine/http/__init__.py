"""The HTTP server: storefront reads, change ingest, operations.

`app.py` is the application; `table.py` has every route; `routes.py` says what a route is, and how to add one.
"""
