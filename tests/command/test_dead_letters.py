"""`pagefold dead-letters`: what it prints, where, and with what exit code."""

import base64
import getpass
import subprocess
from pathlib import Path
from typing import NamedTuple

import anyio
import orjson
import pytest

import pagefold
from pagefold.engine.dead_letters.request_letters import dead_letter_of_request
from tests.support.command_line import Ran, event, finished, lines_file, on_sqlite, product, run_pagefold, settle, spawn

MOMENT = b"2026-01-01T00:00:00.000000Z"
BODY = b"\xff\x1b[31m \xc2\x9b \xe2\x80\xae no JSON\n"
HEADERS = {"webhook-id": "msg\x1b", "content-type": "application/json"}


@pytest.fixture
def workplace(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a configuration and an empty store, of each kind."""
    return settle(tmp_path, store_url, monkeypatch)


def ingest(folder: Path, *events: object) -> Ran:
    """Ingests events from a file."""
    return run_pagefold("ingest", lines_file(folder / "events.ndjson", *events), "--json")


def letters(*arguments: str) -> Ran:
    """Runs a command about dead letters."""
    return run_pagefold("dead-letters", *arguments)


def payload_file(folder: Path, payload: object) -> str:
    """A file with a payload, by its name."""
    path = folder / "payload.json"
    path.write_bytes(payload if isinstance(payload, bytes) else orjson.dumps(payload))
    return str(path)


def test_dead_letters(workplace: Path) -> None:
    """A conflict is listed, shown with its difference, retried, and stays dead with exit code 1."""
    assert run_pagefold("dead-letters", "list") == (0, "", "no dead letters\n")
    ran = ingest(workplace, event(), event(amount="9.99"))
    assert ran.code == 1
    assert "kept as dead letter ingest-1" in ran.err
    [listed] = run_pagefold("dead-letters", "list", "--kind", "ingest", "--domain", "pricing", "--json").documents
    assert (listed["id"], listed["sku"], listed["channel"], listed["version"]) == ("ingest-1", "A", "*", 1)
    assert run_pagefold("dead-letters", "list", "--domain", "media", "--json").out == ""
    assert "ingest-1" in run_pagefold("dead-letters", "list").out
    shown = run_pagefold("dead-letters", "show", "ingest-1", "--json").document
    assert shown["differences"] == [{"path": "amount", "before": "1.00", "after": "9.99"}]
    assert shown["event"]["payload"]["amount"] == "9.99"
    text = run_pagefold("dead-letters", "show", "ingest-1").out
    assert 'in the log → in this dead letter\n  amount: "1.00" → "9.99"' in text
    assert "  kind        ingest\n" in text
    ran = run_pagefold("dead-letters", "retry", "--all", "--json")
    assert (ran.code, ran.document) == (1, {"id": "ingest-1", "result": "still dead"})
    assert run_pagefold("dead-letters", "retry", "ingest-1").out == "ingest-1  still dead\n"


class Stored(NamedTuple):
    """An event that goes past the door."""

    originator_id: str
    originator_version: int
    topic: str
    state: bytes


async def smuggle(*events: Stored) -> None:
    """Puts events into the log that no door would admit."""
    async with pagefold.open() as shop:
        await shop.store.log.insert(events)


def test_an_event_that_cannot_be_folded(workplace: Path) -> None:
    """An event that cannot be folded is reported, shown, tried again, and resolved by a newer good one."""
    ingest(workplace, event())
    state = b'{"id":"x","occurredAt":"%s","recordedAt":"%s","payload":{"amount":1}}'
    moment = b"2026-01-01T00:00:00.000000Z"
    anyio.run(smuggle, Stored("A/*/pricing/erp", 2, "pricing", state % (moment, moment)))
    assert run_pagefold("work", "--once", "--json").document["domains"][1]["dead"] == 1
    [letter] = run_pagefold("dead-letters", "list", "--kind", "projection", "--json").documents
    assert (letter["id"], letter["version"]) == ("projection-1", 2)
    assert run_pagefold("dead-letters", "show", "projection-1", "--json").document["event"]["payload"] == {"amount": 1}
    assert run_pagefold("dead-letters", "retry", "projection-1", "--json").document["result"] == "still dead"
    assert "dead-letters list" in run_pagefold("status").err
    ingest(workplace, event(version=3))
    ran = run_pagefold("dead-letters", "retry", "--all")
    assert (ran.code, ran.out) == (0, "projection-1  resolved\n")
    assert run_pagefold("dead-letters", "list").err == "no dead letters\n"


@on_sqlite
def test_only_the_newest_dead_letters_are_listed(workplace: Path) -> None:
    """The list says how many older dead letters there are."""
    ingest(workplace, event(), *(event(amount=f"{number}.00") for number in range(2, 7)))
    ran = run_pagefold("dead-letters", "list", "--limit", "2", "--json")
    assert [letter["id"] for letter in ran.documents] == ["ingest-5", "ingest-4"]
    ran = run_pagefold("dead-letters", "list", "--limit", "2")
    assert "and 3 older" in ran.err
    assert len(ran.out.splitlines()) == 3


@on_sqlite
def test_an_unknown_dead_letter_is_1(workplace: Path) -> None:
    """Nothing is retried if one of the ids is unknown."""
    for arguments in (("show", "ingest-7"), ("show", "nonsense"), ("retry", "ingest-7")):
        code, out, err = run_pagefold("dead-letters", *arguments)
        assert (code, out) == (1, "")
        assert "there is no dead letter" in err


# --- decisions ------------------------------------------------------------------------------------


def test_a_conflict_is_corrected(workplace: Path) -> None:
    """The payload in a file becomes an event with the operator's name; an invalid one is rejected with exit code 1."""
    ingest(workplace, event(), event(amount="9.99"))
    ran = letters("correct", "ingest-1", "--payload", payload_file(workplace, {"currency": "EUR", "amount": 9.99}))
    assert (ran.code, ran.out) == (1, "")
    assert "ingest-1 stays as it is: payload.amount: expected `str`, got `float`" in ran.err
    good = payload_file(workplace, {"currency": "EUR", "amount": "9.90"})
    ran = letters("correct", "ingest-1", "--payload", good, "--as", "ada")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("ingest-1  corrected by the event at position ")
    assert run_pagefold("work", "--once").code == 0
    assert b"9.90" in run_pagefold("get", "A", "web-de").out.encode()
    entries = run_pagefold("history", "A", "--oldest", "--json").documents
    assert [(each["revision"], each["operator"], each["corrects"]) for each in entries] == [
        (0, None, None),
        (1, "ada", "ingest-1"),
    ]
    assert "by ada: corrects dead letter ingest-1" in run_pagefold("history", "A").out
    ran = letters("correct", "ingest-1", "--payload", good)
    assert (ran.code, ran.out) == (1, "")
    assert "ingest-1 is no longer open: corrected by ada at" in ran.err


@on_sqlite
def test_a_rebuild_restores_the_sources_payload(workplace: Path) -> None:
    """A correction counts until a rebuild compares the log with the source's snapshot, which has another payload."""
    ingest(workplace, event(), event(amount="9.99"))
    good = payload_file(workplace, {"currency": "EUR", "amount": "9.90"})
    assert letters("correct", "ingest-1", "--payload", good, "--as", "ada").code == 0
    with (workplace / "pagefold.toml").open("a", encoding="utf-8") as config:
        config.write('\n[sources.erp.snapshot]\nfile = "prices.ndjson"\n')
    for amount, revisions in (("9.90", 2), ("1.00", 3)):
        lines_file(workplace / "prices.ndjson", event(amount=amount), {"snapshot": "end", "count": 1})
        assert run_pagefold("rebuild").code == 0
        assert len(run_pagefold("history", "A", "--oldest", "--json").documents) == revisions
    assert run_pagefold("history", "A", "--oldest", "--json").documents[-1]["drift"] == "changed"


@on_sqlite
def test_a_correction_from_standard_input(workplace: Path) -> None:
    """`-` reads the payload from standard input; the login name stands for the operator; JSON for programs."""
    ingest(workplace, event(), event(amount="9.99"))
    arguments = ("ingest-1", "--payload", "-", "--source-version", "4", "--json")
    process = spawn("dead-letters", "correct", *arguments, stdin=subprocess.PIPE)
    ran = finished(process, '{"currency":"EUR","amount":"9.90"}')
    assert ran.code == 0, ran.err
    document = ran.document
    assert document.pop("position") > 1
    assert document == {"id": "ingest-1", "outcome": "appended", "path": None, "reason": None}
    assert run_pagefold("history", "A", "--oldest", "--json").documents[-1]["version"] == 4
    assert letters("show", "ingest-1", "--json").document["resolvedBy"] == getpass.getuser()


def test_dead_letters_are_discarded_by_filter(workplace: Path) -> None:
    """It first prints their number; `--yes` discards exactly these, and not what comes later."""
    ingest(workplace, event(), event(amount="2.00"), event(amount="3.00"), product(), event("A", channel="web-de"))
    ingest(workplace, product(enabled=False))
    filters = ("--source", "erp", "--kind", "ingest", "--reason", "a test", "--as", "ada")
    ran = letters("discard", *filters)
    assert ran == (1, "", "2 dead letters would be discarded; --yes discards them\n")
    assert len(letters("list", "--json").documents) == 3
    ran = letters("discard", *filters, "--yes")
    assert (ran.code, ran.out) == (0, "ingest-1  discarded\ningest-2  discarded\n")
    assert ran.err.endswith("2 dead letters discarded\n")
    assert [letter["source"] for letter in letters("list", "--json").documents] == ["pim"]
    assert letters("discard", *filters, "--yes") == (0, "", "no dead letters\n")
    assert letters("discard", "--all", "--reason", "so", "--yes", "--json").documents == [
        {"id": "ingest-3", "result": "discarded"}
    ]


def test_causes(workplace: Path) -> None:
    """They are listed, most letters first; a key selects those of one, and --expect says how many they were."""
    assert letters("causes") == (0, "", "no dead letters\n")
    ingest(workplace, event(), event(amount="2.00"), event(amount="3.00"), product())
    ingest(workplace, product(enabled=False))
    listed = letters("causes").out.splitlines()
    assert [line.split()[1:5] for line in listed] == [
        ["letters", "kind", "domain", "source"],
        ["2", "ingest", "pricing", "erp"],
        ["1", "ingest", "catalog", "pim"],
    ]
    assert listed[1].endswith("version … of … is stored with other content")
    assert letters("causes").err == "3 open in 2 causes\n"
    [first, second] = letters("causes", "--json").documents
    assert (first["letters"], first["newest"], second["domain"]) == (2, "ingest-2", "catalog")
    ingest(workplace, event(amount="4.00"))
    discard = ("discard", "--cause", str(first["cause"]), "--reason", "a test", "--as", "ada")
    changed = "pagefold: expected 2, but it is 3 by now: look again\n"
    assert letters(*discard, "--expect", "2") == (1, "", changed)
    assert letters(*discard, "--expect", "2", "--dry-run") == (1, "", changed)
    assert letters(*discard, "--dry-run", "--json") == (0, '{"letters":3}\n', "3 dead letters would be discarded\n")
    ran = letters("retry", "--cause", str(second["cause"]), "--expect", "1")
    assert (ran.code, ran.out) == (1, "ingest-3  still dead\n")
    ran = letters(*discard, "--expect", "3")
    assert (ran.code, ran.out.split()[::2]) == (0, ["ingest-1", "ingest-2", "ingest-4"])
    assert letters("list", "--cause", str(first["cause"])).err == "no dead letters\n"
    assert len(letters("list", "--cause", str(first["cause"]), "--resolved", "--json").documents) == 3


def test_a_dry_run_changes_nothing(workplace: Path) -> None:
    """It says which named dead letters are open, or how many are selected."""
    ingest(workplace, event(), event(amount="2.00"), event(amount="3.00"))
    letters("discard", "ingest-1", "--reason", "a test")
    dry = letters("discard", "ingest-1", "ingest-2", "--reason", "a test", "--dry-run")
    assert dry == (0, "ingest-1  gone\ningest-2  would be discarded\n", "")
    assert letters("retry", "ingest-2", "--dry-run").out == "ingest-2  would be retried\n"
    assert letters("retry", "--all", "--dry-run") == (0, "", "1 dead letter would be retried\n")
    assert letters("retry", "--source", "pim", "--dry-run").err == "no dead letters\n"
    assert len(letters("list", "--json").documents) == 1
    ran = letters("retry", "ingest-2", "--expect", "1")
    assert (ran.code, ran.err) == (
        2,
        "pagefold: --expect: counts what options select, and cannot be combined with names\n",
    )


def test_dead_letters_are_discarded(workplace: Path) -> None:
    """Each is discarded once, with a reason and a name; it moves to the list of resolved ones, and stays there."""
    ingest(workplace, event(), event(amount="9.99"), event(amount="8.88"))
    ran = letters("discard", "ingest-1", "ingest-1", "ingest-2", "--reason", "a test\x1b[31m", "--as", "ada", "--json")
    assert ran.code == 0
    assert ran.documents == [{"id": f"ingest-{n}", "result": "discarded"} for n in (1, 2)]
    assert letters("discard", "ingest-1", "--reason", "again").out == "ingest-1  gone\n"
    assert letters("list").err == "no dead letters\n"
    listed = letters("list", "--resolved", "--json").documents
    told = sorted((each["id"], each["resolution"], each["resolvedBy"], each["reason"]) for each in listed)
    assert told == [(f"ingest-{number}", "discarded", "ada", "a test\x1b[31m") for number in (1, 2)]
    assert "discarded by ada at 20" in letters("list", "--resolved").out
    shown = letters("show", "ingest-1").out
    assert ": a test\\x1b[31m" in shown
    assert "in the log →" not in shown
    ingest(workplace, event(amount="9.99"))
    assert letters("list").err == "no dead letters\n"
    ran = letters("discard", "ingest-2", "--reason", "")
    assert (ran.code, ran.err) == (1, "pagefold: reason: must be a string of 1 to 1000 characters\n")
    ran = letters("discard", "ingest-2", "--reason", " \t")
    assert (ran.code, ran.err) == (1, "pagefold: reason: must not be blank\n")
    ran = letters("discard", "ingest-2", "--reason", "a test", "--as", " ")
    assert (ran.code, ran.err) == (1, "pagefold: operator: must not be blank\n")


def test_some_are_retried(workplace: Path) -> None:
    """A kind, a domain or a source selects them."""
    ingest(workplace, event(), event(amount="9.99"))
    for arguments in (("--kind", "projection"), ("--domain", "media"), ("--source", "pim")):
        assert letters("retry", *arguments) == (0, "", "no dead letters\n")
    for wanted in (["--kind", "ingest"], ["--domain", "pricing"], ["--source", "erp", "--kind", "ingest"]):
        assert letters("retry", *wanted).out == "ingest-1  still dead\n"
    assert letters("list", "--source", "pim").err == "no dead letters\n"
    assert len(letters("list", "--source", "erp", "--json").documents) == 1


# --- requests -------------------------------------------------------------------------------------


async def keep_request(body: bytes) -> None:
    """Keeps the body of a request of which no event could be made."""
    async with pagefold.open() as shop:
        letter = dead_letter_of_request("erp", body, "no sku", identifier="1", headers=HEADERS)
        await shop.store.dead_letters.add([letter])


def test_a_request_is_shown_safely(workplace: Path) -> None:
    """No control character of its body reaches the terminal; JSON output has the complete body."""
    anyio.run(keep_request, BODY)
    assert "a request of erp" in letters("list").out
    ran = letters("show", "ingest-1")
    assert ran.code == 0
    assert all(character.isprintable() or character == "\n" for character in ran.out)
    assert "no JSON" in ran.out
    assert "webhook-id" in ran.out
    document = letters("show", "ingest-1", "--json").document
    assert base64.b64decode(document["base64"]) == BODY
    assert document["headers"] == HEADERS
    assert "\n  content-type  application/json\n" in ran.out
    assert "1 request could not be turned into events\n" in run_pagefold("status").err
    assert run_pagefold("status", "--json").document["deliveries"] == 1
    assert letters("retry", "--all").out == "ingest-1  still dead\n"


def test_a_request_is_corrected_by_a_complete_event(workplace: Path) -> None:
    """The correction is the complete event, from the same source."""
    anyio.run(keep_request, b"{}")
    ran = letters("correct", "ingest-1", "--payload", payload_file(workplace, event() | {"source": "pim"}))
    assert ran.code == 1
    assert "source: 'pim' is not 'erp', the source of this request" in ran.err
    assert letters("correct", "ingest-1", "--payload", payload_file(workplace, event()), "--as", "ada").code == 0
    assert run_pagefold("history", "A", "--oldest", "--json").document["operator"] == "ada"
