"""`pagefold contracts fields`: the ledger of fields, its alerts, and how they are acknowledged."""

from pathlib import Path

import anyio
import orjson
import pytest

import pagefold
from pagefold.engine.stores.field_ledger import Absence, Sighting, Sightings
from tests.support.command_line import run_pagefold, settle

AT = "2026-03-0{}T00:00:00.000000Z"
COLOR = Sighting("", "color", 4, 4, 1, mapped=True, example="red")
GONE = Sighting("", "gone", 4, 4, 1, mapped=True, example="x")
SIZE = Sighting("", "size", 1, 4, 1, mapped=False, example="XL\x1b[2J")


async def fill() -> None:
    """Fields of two sources; three of them raised an alert."""
    async with pagefold.open() as shop:
        ledger = shop.store.fields
        await ledger.add(sightings("erp", 1, COLOR, GONE))
        await ledger.add(sightings("erp", 2, COLOR._replace(types=2, records=1), SIZE))
        await ledger.mark_absent(Absence("erp", "items", AT.format(2), AT.format(2), unmapped=True))
        await ledger.add(sightings("pim", 1, COLOR))


def sightings(source: str, day: int, *fields: Sighting) -> Sightings:
    """Four records on a day. On the second day, what is new raises alerts."""
    given = [each._replace(alert=None if each.mapped else "new") for each in fields]
    return Sightings(source, "items", AT.format(day), [("", 4)], given, alert_type=day > 1)


@pytest.fixture
def place(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a store of each kind."""
    folder = settle(tmp_path, store_url, monkeypatch)
    anyio.run(fill)
    return folder


def fields(*arguments: str) -> tuple[int, str, str]:
    """Exit code and output of the command."""
    return run_pagefold("contracts", "fields", *arguments)


def test_the_fields_are_listed(place: Path) -> None:
    """With their share of the records and the kinds of their values; control characters are escaped."""
    code, out, _ = fields()
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [
        ["erp", "items", "color"],
        ["erp", "items", "gone"],
        ["erp", "items", "size"],
        ["pim", "items", "color"],
    ]
    assert "62.5 %  text, number  2026-03-01  2026-03-02  type" in out
    assert "XL\\x1b[2J" in out
    assert len(fields("pim")[1].splitlines()) == 2
    documents = [orjson.loads(line) for line in fields("erp", "--json", "--field", "size")[1].splitlines()]
    assert documents == [
        {
            "source": "erp",
            "contract": "items",
            "family": "",
            "field": "size",
            "mapped": False,
            "share": 0.25,
            "records": 1,
            "types": ["text"],
            "firstSeen": AT.format(2),
            "lastSeen": AT.format(2),
            "example": "XL\x1b[2J",
            "alert": "new",
            "alertedAt": AT.format(2),
        }
    ]


def test_alerts_are_shown_until_they_are_acknowledged(place: Path) -> None:
    """By this command, and by `status`, which exits with 1 until then."""
    code, out, _ = fields("--alerts")
    assert (code, len(out.splitlines())) == (1, 4)
    code, _, err = run_pagefold("status")
    assert code == 1
    assert "records of erp: size is new, and not mapped; `pagefold contracts fields erp --alerts`" in err
    assert "records of erp: gone is gone;" in err
    assert "records of erp: color is of another type than before;" in err
    document = orjson.loads(run_pagefold("status", "--json")[1])
    assert [(each["field"], each["alert"]) for each in document["fieldAlerts"]] == [
        ("color", "type"),
        ("gone", "vanished"),
        ("size", "new"),
    ]
    assert fields("erp", "--field", "size", "--acknowledge") == (0, "", "1 alert acknowledged\n")
    assert fields("erp", "--acknowledge") == (0, "", "2 alerts acknowledged\n")
    assert fields("--alerts") == (0, "", "no such field; the ledger has what contracts have read\n")


def test_an_unknown_source(place: Path) -> None:
    """It is an error of usage, with the nearest name."""
    code, _, err = fields("erb")
    assert code == 2
    assert "did you mean 'erp'" in err
