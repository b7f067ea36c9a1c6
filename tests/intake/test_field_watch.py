"""What records have comes into the ledger of fields: news raises alerts, and nothing of it holds up records."""

import tomllib

import anyio
import pytest

import pagefold
from pagefold import Config, Shop, StoreUnavailable
from pagefold.engine.intake import field_watch
from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.field_watch import FieldWatch
from pagefold.engine.stores.field_ledger import FieldFilter, Sightings
from pagefold.engine.stores.store import Store

TEXT = """
name = "erp-items"
sku = "sku"
sourceVersion = "rev"
occurredAt = { constant = "2026-03-01T00:00:00Z" }
[catalog]
attributes.color = { from = "color", blank = "skip" }
"""
RECORD = {"sku": "A", "rev": 1, "color": "red"}


def contract(head: str = "") -> Contract:
    """A contract that reads colors."""
    return Contract(tomllib.loads(head + TEXT), source="erp", channels=())


async def snapshot(store: Store, *records: object, head: str = "", complete: bool = True) -> Contract:
    """One snapshot with some records."""
    watch, compiled = FieldWatch(store.fields), contract(head)
    await watch.begin_snapshot("erp", compiled)
    for record in records:
        compiled.read(record)
    await watch.finish_snapshot(complete=complete)
    return compiled


async def alerts(store: Store) -> list[tuple[str, str | None]]:
    """The alerts, by field."""
    return [(each.field, each.alert) for each in await store.fields.entries(FieldFilter(alerts=True))]


async def test_a_first_snapshot_is_no_news(store: Store) -> None:
    """Its fields are in the ledger, mapped or not; the next one's new field is an alert."""
    await snapshot(store, RECORD | {"note": "x"}, RECORD)
    found = {each.field: each for each in await store.fields.entries()}
    assert {name: (each.records, each.all_records, each.mapped) for name, each in found.items()} == {
        "color": (2, 2, True),
        "note": (1, 2, False),
        "rev": (2, 2, True),
        "sku": (2, 2, True),
    }
    assert await alerts(store) == []
    await snapshot(store, RECORD | {"note": "x", "size": "XL"})
    assert await alerts(store) == [("size", "new")]


@pytest.mark.parametrize("head", ['unmapped = "skip"\n', 'ignore = ["size"]\n'])
async def test_what_nobody_wants_to_know_raises_no_alert(store: Store, head: str) -> None:
    """By its level, or because it is left out on purpose."""
    await snapshot(store, RECORD)
    await snapshot(store, RECORD | {"size": "XL"}, head=head)
    await snapshot(store, RECORD, head=head)
    assert await alerts(store) == []


async def test_a_mapped_field_that_vanished_is_always_an_alert(store: Store) -> None:
    """Of a snapshot that may not be complete, only if most records had it."""
    without = {"sku": "A", "rev": 1}
    await snapshot(store, RECORD, without, without)
    await snapshot(store, without, complete=False)
    assert await alerts(store) == []
    await snapshot(store, without, head='unmapped = "skip"\n')
    assert await alerts(store) == [("color", "vanished")]
    await snapshot(store, *[RECORD] * 10)
    assert await alerts(store) == []
    await snapshot(store, without, complete=False)
    assert await alerts(store) == [("color", "vanished")]
    await snapshot(store, RECORD)
    assert await alerts(store) == []


async def test_another_type_is_an_alert_or_an_error(store: Store) -> None:
    """With `fail` the statements are refused until somebody acknowledges the type, however often it comes."""
    head = 'unmapped = { type = "fail" }\n'
    await snapshot(store, RECORD, head=head)
    for _ in range(2):
        compiled = await snapshot(store, RECORD | {"color": 7}, head=head)
        [refusal] = compiled.read(RECORD | {"color": 7}).refusals
        assert refusal.error.code == "other_type"
        assert await alerts(store) == [("color", "type")]
    await store.fields.acknowledge(FieldFilter("erp", field="color"), ["type"])
    compiled = await snapshot(store, RECORD | {"color": 7}, head=head)
    assert compiled.read(RECORD | {"color": 7}).refusals == []
    assert await alerts(store) == []


async def test_single_records_are_written_in_the_background(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some seconds after the first, without anybody waiting; the rest when it is closed."""
    monkeypatch.setattr(field_watch, "FLUSH_SECONDS", 0.05)
    watch, compiled = FieldWatch(store.fields), contract()
    watch.add("erp", compiled)
    compiled.read(RECORD)
    watch.note()
    watch.note()
    assert await store.fields.entries() == []
    for _ in range(250):
        if await store.fields.entries():
            break
        await anyio.sleep(0.02)
    compiled.read(RECORD)
    watch.note()
    await watch.close()
    assert {each.records for each in await store.fields.entries()} == {2}


async def test_a_new_field_of_single_records(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first hour it belongs to what the source usually sends; after that it is news."""
    watch, compiled = FieldWatch(store.fields), contract()
    watch.add("erp", compiled)
    compiled.read(RECORD)
    await watch.close()
    compiled.read(RECORD | {"note": "x"})
    await watch.close()
    assert await alerts(store) == []
    monkeypatch.setattr(field_watch, "BASELINE_SECONDS", -1.0)
    compiled.read(RECORD | {"size": "XL"})
    await watch.close()
    assert await alerts(store) == [("size", "new")]


async def test_values_that_no_table_has(store: Store) -> None:
    """Each is an alert at once, with how often it was; not once it is in the table."""
    lookup = TEXT.replace('from = "color"', 'from = "color", lookup = { values = { red = "rot" } }')

    async def with_table(*colors: str, text: str = lookup) -> None:
        watch, compiled = FieldWatch(store.fields), Contract(tomllib.loads(text), source="erp", channels=())
        await watch.begin_snapshot("erp", compiled)
        for color in colors:
            compiled.read(RECORD | {"color": color})
        await watch.finish_snapshot(complete=True)

    await with_table("red", "pink", "pink", "blue")
    found = await store.fields.entries(FieldFilter(alerts=True))
    assert [(each.field, each.records, each.alert) for each in found] == [
        ("catalog.attributes.color.lookup = blue", 1, "value"),
        ("catalog.attributes.color.lookup = pink", 2, "value"),
    ]
    await with_table("red", "pink", text=lookup.replace('"rot" }', '"rot", pink = "rosa" }'))
    assert await alerts(store) == []
    await with_table("red", "pink", text='unmapped = "skip"\n' + lookup)
    assert await alerts(store) == []


async def test_names_without_end_do_not_fill_the_ledger(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a number of fields, only those that the contract reads are added."""
    monkeypatch.setattr(field_watch, "MAX_LEDGER_FIELDS", 5)
    await snapshot(store, RECORD | {"n1": 1, "n2": 2})
    await snapshot(store, RECORD | {"n3": 1})
    found = {each.field: each.records for each in await store.fields.entries()}
    assert "n3" not in found
    assert found["color"] == 2


async def test_a_ledger_that_cannot_be_written_holds_nothing_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its counts are lost, and the next ones are written."""

    async def fail(_: Sightings) -> None:
        problem = "the disk"
        raise StoreUnavailable(problem, OSError())

    watch, compiled = FieldWatch(store.fields), contract()
    watch.add("erp", compiled)
    compiled.read(RECORD)
    with monkeypatch.context() as broken:
        broken.setattr(store.fields, "add", fail)
        await watch.finish_snapshot(complete=True)
    compiled.read(RECORD)
    await watch.finish_snapshot(complete=True)
    assert {each.records for each in await store.fields.entries()} == {1}


async def test_status_shows_the_alerts(shop: Shop, config: Config) -> None:
    """With the kinds of values and an example; closing a shop writes what it has counted."""
    await snapshot(shop.store, RECORD)
    async with pagefold.open(config) as other:
        compiled = contract()
        other.fields.add("erp", compiled)
        compiled.read(RECORD | {"size": ["XL"]})
    [alert] = (await shop.status()).field_alerts
    assert (alert.source, alert.contract, alert.field, alert.alert) == ("erp", "erp-items", "size", "new")
    assert (alert.types, alert.example) == (["list"], "a list of 1")
