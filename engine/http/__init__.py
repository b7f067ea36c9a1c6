"""The HTTP server: storefront reads, change ingest, operations.

`application.py` is the application; `route_table.py` lists every route; `routing.py` says what a route is, and how to
add one.
"""
