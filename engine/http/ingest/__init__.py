"""Changes over HTTP: events and CloudEvents, webhooks, and what Debezium tells of a source's tables.

Whatever it is, it is answered after the commit, with one outcome an item, in order. A request is taken whole, in one
transaction, or not at all, and sending it again is safe.
"""
