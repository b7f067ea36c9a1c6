"""The table of references: what the fold stores of them, on both stores."""

from collections.abc import Sequence

import pytest

from pagefold.engine.events import Reference
from pagefold.engine.stores.reference_records import (
    KindCount,
    KnownId,
    StoredReference,
    WholeGroup,
    changes_of_references,
    reference_rows,
)
from pagefold.engine.stores.store import Store
from tests.stores.test_fold_few import fold_few
from tests.support.small_shop import insert

GTIN, PRODUCT = "gtin", "shopify:product"

RED = StoredReference("RED/*/catalog/pim", GTIN, "1", "RED")
RED_TOO = StoredReference("RED/*/catalog/shopify", GTIN, "1", "RED")
BLUE = StoredReference("BLUE/*/catalog/pim", GTIN, "2", "BLUE")
RED_PRODUCT = StoredReference("RED/*/catalog/pim", PRODUCT, "9", "RED")
BLUE_PRODUCT = StoredReference("BLUE/*/catalog/pim", PRODUCT, "9", "BLUE")
ALL = [RED, RED_TOO, BLUE, RED_PRODUCT, BLUE_PRODUCT]


async def store_all(store: Store, added: Sequence[StoredReference], removed: Sequence[StoredReference] = ()) -> None:
    """Changes references in a transaction of catalog."""
    async with store.coordination.fold_transaction("catalog") as transaction:
        await transaction.change_references(removed, added)


async def test_ids_are_found_with_every_statement(store: Store) -> None:
    """An unknown id has none; nothing is asked for nothing."""
    await store_all(store, ALL)
    found = await store.references.stated([Reference(GTIN, "1"), Reference(PRODUCT, "9"), Reference(GTIN, "9")])
    assert sorted(found) == sorted([RED, RED_TOO, RED_PRODUCT, BLUE_PRODUCT])
    assert await store.references.stated([]) == []


async def test_a_change_is_committed_with_its_transaction(store: Store) -> None:
    """What is removed is gone, and what is stored already may be stored again; an error leaves all as it was."""
    await store_all(store, [RED, BLUE])
    await store_all(store, [RED, RED_PRODUCT], [BLUE])
    assert await store.references.next_rows() == [RED, RED_PRODUCT]

    async def broken_off() -> None:
        async with store.coordination.fold_transaction("catalog") as transaction:
            await transaction.change_references([RED], [BLUE])
            assert await transaction.references([RED.stream, BLUE.stream]) == [BLUE, RED_PRODUCT]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await broken_off()
    assert await store.references.next_rows() == [RED, RED_PRODUCT]


async def test_a_transaction_knows_whether_there_ever_were_references(store: Store) -> None:
    """Until then, a shop without them need not look. It is known by domain."""
    async with store.coordination.fold_transaction("catalog") as transaction:
        assert not transaction.has_references
        await transaction.change_references([], [RED])
    for domain, known in (("catalog", True), ("pricing", False)):
        async with store.coordination.fold_transaction(domain) as transaction:
            assert transaction.has_references is known


async def test_rows_are_listed_in_order_and_in_steps(store: Store) -> None:
    """By stream, kind and id; and those of some streams."""
    await store_all(store, ALL)
    assert await store.references.next_rows(limit=2) == sorted(ALL)[:2]
    assert await store.references.next_rows(sorted(ALL)[1]) == sorted(ALL)[2:]
    assert await store.references.of_streams([RED.stream]) == [RED, RED_PRODUCT]
    assert await store.references.of_streams([]) == []


async def test_ids_are_listed_with_their_skus(store: Store) -> None:
    """All of them, those of a kind, those after one, or those that several SKUs have."""
    await store_all(store, ALL)
    known = [
        KnownId(GTIN, "1", "RED", "RED", 2),
        KnownId(GTIN, "2", "BLUE", "BLUE", 1),
        KnownId(PRODUCT, "9", "BLUE", "RED", 2),
    ]
    assert await store.references.list_ids() == known
    assert await store.references.list_ids(GTIN, limit=1) == known[:1]
    assert await store.references.list_ids(after=Reference(GTIN, "1")) == known[1:]
    assert await store.references.list_ids(shared=True) == known[2:]
    assert [each.is_shared for each in known] == [False, False, True]
    assert await store.references.count_kinds() == [KindCount(GTIN, 2, 3, 0), KindCount(PRODUCT, 1, 2, 1)]


async def test_streams_with_references_need_a_transaction(store: Store) -> None:
    """A fold of a few SKUs stores none; it leaves streams that have some to a fold transaction."""
    await insert(store, "A")
    await store_all(store, [StoredReference("A", GTIN, "1", "A")])
    assert await fold_few(store) is None
    assert await fold_few(store, streams=("B",)) is not None


def test_changes_are_those_of_each_stream() -> None:
    """Equal references change nothing."""
    references = {RED.stream: {GTIN: ["1"], PRODUCT: ["9"]}, BLUE.stream: {}}
    assert reference_rows(references) == [RED, RED_PRODUCT]
    assert changes_of_references([RED_PRODUCT, RED], references) == []
    assert changes_of_references([RED, BLUE], references) == [
        (BLUE.stream, [BLUE], []),
        (RED.stream, [], [RED_PRODUCT]),
    ]


async def test_the_newest_version_of_a_group_is_remembered(store: Store) -> None:
    """By source and group; what is settled stays so: a newer one finds a group that is known."""
    group = Reference(PRODUCT, "9")
    first, second = (WholeGroup("pim", group, version, f"2026-01-0{version}", settled=False) for version in (1, 2))
    settled = second._replace(settled=True)
    assert await store.references.keep_whole(second) == second
    assert await store.references.keep_whole(settled) == settled
    assert await store.references.keep_whole(second) == settled
    assert await store.references.keep_whole(first) == settled
    assert await store.references.keep_whole(first._replace(source="erp")) == first._replace(source="erp")
    third = second._replace(version=3)
    assert await store.references.keep_whole(third) == third._replace(settled=True)
