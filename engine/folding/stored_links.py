"""What the fold keeps beside the sections: the references that heads state, and their links to parents."""

from collections.abc import Collection

from pagefold.engine.events import Reference
from pagefold.engine.folding.parent_reader import Spellings
from pagefold.engine.stores.reference_records import (
    ReferenceChange,
    References,
    changes_of_references,
    reference_rows,
)
from pagefold.engine.stores.store import FoldTransaction
from pagefold.projections import skus_of
from pagefold.projections.inheritance import VARIANT, Inheritance, Named


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


async def with_variants(
    transaction: FoldTransaction, inheritance: Inheritance, streams: Collection[str], codes: set[Named]
) -> list[str]:
    """The SKUs of streams, and those that inherit from them. Variants that are not folded yet will see them.

    `codes` are those under which variants may name these SKUs. Stores first under which codes they can be found: others
    of these may name them.
    """
    spellings = {stream: links for stream in streams if (links := inheritance.spellings(stream))}
    if spellings:
        await transaction.change_references([], reference_rows(spellings))
    return sorted({*skus_of(streams), *await variants_of(transaction, inheritance, codes)})


async def variants_of(links: Spellings, inheritance: Inheritance, codes: set[Named]) -> set[str]:
    """The SKUs that inherit from those that have some codes, as far as links are known."""
    skus: set[str] = set()
    passed = codes
    for _ in range(inheritance.levels):
        if not codes:
            break
        rows = await links.stated([Reference(VARIANT + each.source, each.code) for each in sorted(codes)])
        variants = {row.stream for row in rows}
        skus.update(skus_of(variants))
        codes = inheritance.own_codes(variants) - passed
        passed = passed | codes
    return skus
