"""The routes of the server, a module each: pages, history, events, webhooks, CDC, dead letters, epochs, operations.

Ingest is answered after the commit, with one outcome per item, in order; sending a request again is safe. Events are
appended in one transaction or not at all; parts of webhooks and CDC requests that fail are kept in dead letters.
"""
