"""Changes over HTTP: events and CloudEvents, webhooks, and what Debezium tells of a source's tables.

Whatever it is, it is answered after the commit, with one outcome an item, in order, and sending it again is safe.
Events are taken whole, in one transaction, or not at all; of what webhooks and Debezium deliver, what cannot be taken
is kept.
"""
