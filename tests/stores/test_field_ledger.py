"""The ledger of fields in stores: what is counted, which alerts are raised and ended."""

from collections.abc import Mapping, Sequence

import anyio
import pytest

from pagefold import Config
from pagefold.engine.stores import open_store
from pagefold.engine.stores.field_ledger import (
    Absence,
    FieldEntry,
    FieldFilter,
    FieldKey,
    Sighting,
    Sightings,
)
from pagefold.engine.stores.store import Store

TEXT, NUMBER, LIST = 1, 2, 8
DAYS = [f"2026-03-0{day}T00:00:00.000000Z" for day in range(1, 10)]


def color(
    records: int = 10, types: int = TEXT, *, family: str = "", mapped: bool = True, field: str = "color"
) -> Sighting:
    """Records with a color."""
    return Sighting(family, field, records, 0, types, mapped, "red")


async def add(
    store: Store,
    day: int,
    *fields: Sighting,
    families: Sequence[tuple[str, int]] = (("", 10),),
    alert: bool = True,
    contract: str = "csv",
) -> None:
    """Adds ten records of the source `erp`, seen on a day."""
    await store.fields.add(
        Sightings(
            "erp",
            contract,
            DAYS[day],
            families,
            [_alerting(each, alert=alert, families=dict(families)) for each in fields],
            alert,
        )
    )


def _alerting(each: Sighting, *, alert: bool, families: Mapping[str, int]) -> Sighting:
    """The field, in a batch with so many records of its family. It is news if the contract does not read it."""
    return each._replace(all_records=families[each.family], alert="new" if alert and not each.mapped else None)


async def entry(store: Store, field: str = "color") -> FieldEntry:
    """The ledger's entry of a field."""
    [found] = await store.fields.entries(FieldFilter(field=field))
    return found


async def entries_of(store: Store, field: str) -> list[tuple[str, str | None]]:
    """Family and alert of each entry of a field."""
    return [(each.family, each.alert) for each in await store.fields.entries(FieldFilter(field=field))]


def absence(day: int, since: int | None = None, *, unmapped: bool = True) -> Absence:
    """What has vanished by a day."""
    return Absence("erp", "csv", DAYS[day], None if since is None else DAYS[since], unmapped)


async def test_what_is_counted(store: Store) -> None:
    """Records with a value, of all records of the family; first and last time; every type; the last example."""
    assert await store.fields.known_since("erp", "csv") is None
    await add(store, 1, color(), color(3, field="size"), alert=False)
    await add(store, 2, color(5, NUMBER)._replace(example="3"), alert=False)
    assert await entry(store) == FieldEntry(
        "erp",
        "csv",
        "",
        "color",
        DAYS[1],
        DAYS[2],
        15,
        20,
        TEXT | NUMBER,
        TEXT | NUMBER,
        mapped=True,
        example="3",
        alert=None,
        alerted_at=None,
    )
    assert (await entry(store, "size"))[6:8] == (3, 20)
    assert await store.fields.known_since("erp", "csv") == (DAYS[1], 3)
    await add(store, 1, color())
    assert (await entry(store)).last_seen == DAYS[2], "a late addition moves no time back"


async def test_the_share_counts_from_the_first_time(store: Store) -> None:
    """A field that came later is not rare for that."""
    await add(store, 1, color())
    await add(store, 2, color(), color(field="size"))
    await add(store, 3, color(5), color(5, field="size"))
    assert [(each.field, each.records, each.all_records) for each in await store.fields.entries()] == [
        ("color", 25, 30),
        ("size", 15, 20),
    ]


async def test_families_and_contracts_are_counted_on_their_own(store: Store) -> None:
    """The same field of another family, or of another contract, is another entry."""
    await add(store, 1, color(4, family="shirts"), color(6), families=[("shirts", 4), ("", 6)])
    await add(store, 1, color(), contract="webhook")
    found = await store.fields.entries()
    assert [(each.contract, each.family, each.records, each.all_records) for each in found] == [
        ("csv", "", 6, 6),
        ("csv", "shirts", 4, 4),
        ("webhook", "", 10, 10),
    ]
    assert await store.fields.entries(FieldFilter("pim")) == []
    assert [each.contract for each in await store.fields.entries(FieldFilter("erp", "webhook"))] == ["webhook"]


async def test_the_ledger_is_read_in_steps(store: Store) -> None:
    """Every entry once, in order."""
    names = [f"f{number}" for number in range(7)]
    await add(store, 1, *(color(field=name) for name in reversed(names)))
    found: list[FieldEntry] = []
    while step := await store.fields.entries(after=found[-1].key if found else FieldKey("", "", "", ""), limit=2):
        assert len(step) <= 2
        found += step
    assert [each.field for each in found] == names


async def test_a_new_field_raises_an_alert(store: Store) -> None:
    """Unless the contract reads it, or nobody wants to know; once the contract reads it, the alert ends."""
    await add(store, 1, color(mapped=False), color(field="size"))
    await add(store, 1, color(mapped=False, field="quiet"), alert=False)
    assert [(each.field, each.alert, each.alerted_at) for each in await store.fields.entries()] == [
        ("color", "new", DAYS[1]),
        ("quiet", None, None),
        ("size", None, None),
    ]
    assert await store.fields.alert_counts() == [("erp", "new", 1)]
    await add(store, 2, color(mapped=False))
    assert (await entry(store)).alerted_at == DAYS[1]
    await add(store, 3, color(mapped=True))
    assert (await entry(store)).alert is None


async def test_another_type_raises_an_alert(store: Store) -> None:
    """Once: a type that the ledger has is no news, even after it was acknowledged."""
    await add(store, 1, color())
    await add(store, 2, color(types=TEXT | LIST), alert=False)
    assert (await entry(store)).alert is None
    await add(store, 3, color(types=NUMBER))
    found = await entry(store)
    assert (found.alert, found.alerted_at, found.types) == ("type", DAYS[3], TEXT | LIST | NUMBER)
    await add(store, 3, color(types=NUMBER))
    assert (await entry(store)).accepted_types == TEXT | LIST
    assert await store.fields.acknowledge(FieldFilter("erp"), ["new", "vanished"]) == 0
    assert await store.fields.acknowledge(FieldFilter("erp", field="color"), ["type"]) == 1
    assert (await entry(store)).accepted_types == TEXT | LIST | NUMBER
    await add(store, 4, color(types=NUMBER))
    assert (await entry(store)).alert is None
    assert await store.fields.alert_counts() == []


async def test_a_value_that_no_table_has(store: Store) -> None:
    """It is an alert at once, ends when a snapshot lacks it, and is one again when it comes back; never vanished."""
    pink = Sighting("", "color.lookup = pink", 3, 0, 0, mapped=False, example="pink", alert="value")
    await store.fields.add(Sightings("erp", "csv", DAYS[1], [("", 0)], [pink], alert_type=False))
    assert await store.fields.alert_counts() == [("erp", "value", 1)]
    assert await store.fields.acknowledge(FieldFilter("erp"), ["value"]) == 1
    await store.fields.add(Sightings("erp", "csv", DAYS[2], [("", 5)], [pink], alert_type=True))
    assert await store.fields.alert_counts() == []
    await add(store, 3, color())
    assert await store.fields.mark_absent(absence(3, since=3)) == 0
    await store.fields.add(Sightings("erp", "csv", DAYS[4], [("", 5)], [pink], alert_type=True))
    assert await store.fields.alert_counts() == [("erp", "value", 1)]
    await add(store, 5, color())
    assert await store.fields.mark_absent(absence(5, since=5)) == 0
    assert await store.fields.alert_counts() == []


async def test_a_field_that_a_whole_snapshot_lacks_has_vanished(store: Store) -> None:
    """It is an alert, once until the field is back; not of families without records, nor of very rare fields."""
    families = [("", 100), ("shoes", 10)]
    rare, shoes = color(1, field="rare"), color(10, family="shoes")
    await add(store, 1, color(100), rare, shoes, color(100, mapped=False, field="note"), families=families, alert=False)
    await add(store, 2, color(100, field="size"), families=[("", 100)])
    assert await store.fields.mark_absent(absence(2, since=2, unmapped=False)) == 1
    assert await store.fields.alert_counts() == [("erp", "vanished", 1)]
    assert await store.fields.mark_absent(absence(2, since=2, unmapped=True)) == 1
    alerts = await store.fields.entries(FieldFilter(alerts=True))
    assert [(each.family, each.field, each.alert) for each in alerts] == [
        ("", "color", "vanished"),
        ("", "note", "vanished"),
    ]
    assert await store.fields.acknowledge(FieldFilter(), ["vanished"]) == 2
    await add(store, 3, color(100, field="size"), families=[("", 100)])
    assert await store.fields.mark_absent(absence(3, since=3)) == 0
    await add(store, 4, color(100), families=[("", 100)])
    await add(store, 5, color(100, field="size"), families=[("", 100)])
    assert await store.fields.mark_absent(absence(5, since=5, unmapped=False)) == 1
    await add(store, 6, color(1), families=[("", 100)])
    assert (await entries_of(store, "color")) == [("", None), ("shoes", None)]


@pytest.mark.parametrize(
    ("had", "absent", "vanished"),
    [(20_000, 999, 0), (20_000, 1_000, 1), (400, 1_999, 0), (400, 2_000, 1), (399, 9_999, 0)],
)
async def test_a_field_that_single_records_lack(store: Store, had: int, absent: int, vanished: int) -> None:
    """It has vanished after forty times as many records as usual, and at least a thousand; a very rare one never."""
    await add(store, 1, color(had), families=[("", 20_000)])
    await add(store, 2, families=[("", absent)])
    assert await store.fields.mark_absent(absence(3)) == vanished
    assert await store.fields.mark_absent(absence(4)) == 0


async def test_concurrent_additions_are_all_counted(store: Store, config: Config) -> None:
    """Of two processes, in opposite orders of fields."""
    other = await open_store(config)
    fields = [color(1, field=f"f{number}") for number in range(50)]

    async def count(at: Store, given: list[Sighting]) -> None:
        for _ in range(5):
            await add(at, 1, *given, families=[("", 1)])

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(count, (store, other)[number % 2], fields if number % 2 else fields[::-1])
    found = await store.fields.entries()
    assert len(found) == 50
    assert {(each.records, each.all_records) for each in found} == {(20, 20)}
    await other.close()


async def test_the_ledger_survives(store: Store, config: Config) -> None:
    """Another opening of the store reads it."""
    await add(store, 1, color())
    other = await open_store(config, create=False)
    assert [each.field for each in await other.fields.entries()] == ["color"]
    await other.close()
