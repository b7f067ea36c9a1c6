"""`pagefold releases`: from a draft to a rollback, and what is refused."""

from pathlib import Path

import pytest

from tests.support.command_line import event, lines_file, product, run_pagefold, settle

WHO = ("--reason", "a test", "--as", "ada")


@pytest.fixture
def place(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shop with a page, and a release that changes its price."""
    found = settle(tmp_path, store_url, monkeypatch)
    assert run_pagefold("ingest", lines_file(found / "a.ndjson", product(), event())).code == 0
    assert run_pagefold("work", "--once").code == 0
    assert run_pagefold("releases", "create", "sale", *WHO).code == 0
    cheaper = event(payload={"currency": "EUR", "amount": "0.50"}, source="release/sale")
    ran = run_pagefold("ingest", lines_file(found / "sale.ndjson", cheaper))
    assert (ran.code, ran.err) == (0, ran.err)
    assert run_pagefold("work", "--once").code == 0
    return found


def amount(*command: str) -> str:
    """The price of the page that a command prints."""
    ran = run_pagefold(*command)
    assert ran.code == 0, ran.err
    found: str = ran.document["pricing"]["amount"]
    return found


def test_from_draft_to_rollback(place: Path) -> None:
    """Each step says what it did; pages follow."""
    assert place.is_dir()
    before = amount("get", "A", "web-de")
    assert before != "0.50"
    assert amount("releases", "show", "sale", "A", "web-de") == "0.50"
    assert run_pagefold("releases", "show", "sale", "--json").document["statements"] == {"pricing": 1}
    diff = run_pagefold("releases", "diff", "sale", "--json").document
    assert diff["plan"]["channels"]["web-de"]["fields"] == {"pricing.amount": 1}
    applied = run_pagefold("releases", "publish", "sale", *WHO, "--json").document
    assert (applied["number"], applied["by"], applied["reason"]) == (1, "ada", "a test")
    assert run_pagefold("work", "--once").code == 0
    assert amount("get", "A", "web-de") == "0.50"
    assert run_pagefold("releases", "list", "--json").document["state"] == "published"
    assert "is published already" in run_pagefold("releases", "publish", "sale", "--yes", *WHO).err
    assert run_pagefold("releases", "rollback", "sale", *WHO).code == 0
    assert run_pagefold("work", "--once").code == 0
    assert amount("get", "A", "web-de") == before


def test_what_publishing_would_hide(place: Path) -> None:
    """A page that is disabled with the release is not the same as none. A plan ends at what it has to say."""
    hidden = event(type="catalog", payload={"enabled": False}, source="release/sale")
    assert run_pagefold("ingest", lines_file(place / "hidden.ndjson", hidden)).code == 0
    ran = run_pagefold("releases", "show", "sale", "A", "web-de")
    assert (ran.code, ran.err) == (1, "with the release, the page of A in web-de is disabled\n")
    assert "\n\n\n" not in run_pagefold("releases", "diff", "sale").out
    assert run_pagefold("releases", "create", "empty", *WHO).code == 0
    assert run_pagefold("releases", "diff", "empty").out.endswith("nothing changes\n")
    assert run_pagefold("releases", "publish", "sale", "--yes", *WHO).code == 0
    assert run_pagefold("releases", "publish", "empty", "--yes", *WHO).code == 0
    rows = [line.split()[:3] for line in run_pagefold("releases", "list").out.splitlines()]
    assert rows == [["name", "state", "rank"], ["sale", "published", "2"], ["empty", "published", "1"]]
    ran = run_pagefold("releases", "publish", "empty", *WHO)
    assert (ran.code, ran.err) == (1, "pagefold: name: 'empty' is published already\n")


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (("show", "other"), 1, "there is no release 'other'; there are: sale"),
        (("show", "sale", "A"), 2, "a page needs SKU and CHANNEL"),
        (("show", "sale", "NONE", "web-de"), 1, "with the release, NONE in web-de has no page"),
        (("publish", "sale", "--reason", " ", "--as", "ada"), 1, "reason: must not be blank"),
        (("create", "sale", *WHO), 1, "there is a release 'sale' already"),
        (("rollback", "sale", *WHO), 1, "'sale' is not published"),
        (("schedule", "sale", "tomorrow", *WHO), 2, "'tomorrow' is no time with its offset, such as"),
        (("schedule", "sale", "2099-01-01T00:00", *WHO), 2, "'2099-01-01T00:00' is no time with its offset"),
        (("schedule", "sale", "9999-12-31T23:59-14:00", *WHO), 2, "TIME: '9999-12-31T23:59-14:00' is no time"),
        (("schedule", "sale", "2020-01-01T00:00Z", *WHO), 1, "is past"),
        (("publish", "sale", "--as", "ada"), 2, "--reason"),
    ],
)
def test_what_is_refused(place: Path, command: tuple[str, ...], code: int, message: str) -> None:
    """With the reason; nothing changes."""
    assert place.is_dir()
    ran = run_pagefold("releases", *command)
    assert ran.code == code, ran.err
    assert message in ran.err
    assert run_pagefold("releases", "list", "--json").document["state"] == "draft"


def test_a_schedule_is_shown_and_ended(place: Path) -> None:
    """In UTC; without a time there is none from then on."""
    assert place.is_dir()
    ran = run_pagefold("releases", "schedule", "sale", "2099-06-01T00:00+02:00", *WHO)
    assert (ran.code, ran.err) == (0, "sale is published at 2099-05-31 22:00:00 UTC\n")
    ran = run_pagefold("releases", "schedule", "sale", "2099-06-01T00:00Z", "--until", "2099-06-01T00:00:30Z", *WHO)
    assert ran.err == "sale is published at 2099-06-01 00:00:00 UTC, and rolled back at 2099-06-01 00:00:30 UTC\n"
    assert "scheduled" in run_pagefold("releases", "list").out
    assert run_pagefold("releases", "schedule", "sale", *WHO).err == "sale has no schedule\n"
    assert "draft" in run_pagefold("releases", "list").out
