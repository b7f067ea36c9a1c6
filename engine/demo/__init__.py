"""Show a whole shop at work, live, in well under a minute.

Five sources deliver a catalog and a day of changes, some of it late, out of order, twice, contradictory or broken.
Consumers fold it into pages meanwhile, and a storefront reads them. Every page is compared with an independent
model, byte for byte.

Then lines are lost on their way, sections are corrupted by hand, and a product disappears. A rebuild from
the sources' snapshots must find every stream that has drifted, and no other. Then every page is compared again:
exit code 1 if a single one differs.

It happens in a SQLite store of its own, in a temporary folder that is removed in the end, whatever PAGEFOLD_STORE
says. With --store it happens there, if that store is empty, and everything stays.
"""
