"""What the fold keeps beside the sections: the references that heads state, and their links to parents."""

from collections.abc import Collection

from pagefold.engine.events import Reference
from pagefold.engine.stores.reference_records import (
    ReferenceChange,
    References,
    changes_of_references,
    reference_rows,
)
from pagefold.engine.stores.store import FoldTransaction
from pagefold.projections import skus_of
from pagefold.projections.inheritance import VARIANT, Inheritance


async def store_references(
    transaction: FoldTransaction, streams: Collection[str], references: References
) -> list[ReferenceChange]:
    """Stores exactly these references of some streams, and returns what has changed. Costs nothing without any."""
    if not references and not transaction.has_references:
        return []
    changes = changes_of_references(await transaction.references(streams), references)
    if changes:
        removed = [row for change in changes for row in change.removed]
        await transaction.change_references(removed, [row for change in changes for row in change.added])
    return changes


async def with_variants(transaction: FoldTransaction, inheritance: Inheritance, streams: Collection[str]) -> list[str]:
    """The SKUs of streams, and those that inherit from them. Variants that are not folded yet will see them.

    Stores first under which codes they can be found: others of these may name them.
    """
    spellings = {stream: links for stream in streams if (links := inheritance.spellings(stream))}
    if spellings:
        await transaction.change_references([], reference_rows(spellings))
    skus = set(skus_of(streams))
    passed = codes = inheritance.own_codes(streams)
    for _ in range(inheritance.levels):
        if not codes:
            break
        rows = await transaction.stated([Reference(VARIANT + each.source, each.code) for each in sorted(codes)])
        variants = {row.stream for row in rows}
        skus.update(skus_of(variants))
        codes = inheritance.own_codes(variants) - passed
        passed = passed | codes
    return sorted(skus)
