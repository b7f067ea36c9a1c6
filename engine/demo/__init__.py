"""Show a whole shop at work, live, in well under a minute.

Five sources deliver a catalog and a day of changes, some of them late, out of order, twice, contradictory or broken.
Meanwhile consumers fold them into pages, and a storefront reads the pages. Every page is compared with an independent
model, byte for byte.

Then lines are lost in transit, sections are corrupted, and a product disappears from its sources. A rebuild from the
sources' snapshots must find every drifted stream, and no others. Every page is compared again: exit code 1 if any
differs.

The demo uses a SQLite store in a temporary folder, which is removed at the end; PAGEFOLD_STORE is ignored. With --store
it uses that store, which must be empty, and keeps it.
"""
