"""Comparing rows with head contents, and with heads if contents do not suffice."""

import json

import msgspec
import pytest

from pagefold.engine.events import ValidatedEvent
from pagefold.engine.intake.event_parser import parse_event
from pagefold.engine.rebuild.row_comparer import (
    Comparison,
    PendingRepair,
    RepairContext,
    RowComparer,
    drift_details,
    row_event_of,
    split_equal,
)
from pagefold.engine.rebuild.run_records import RunCounts
from pagefold.engine.snapshots.row import Row
from pagefold.engine.stores.event_state import DriftKind, head_content, repair_encoder
from pagefold.engine.stores.log_records import StoredEvent
from tests.support.snapshot_fixtures import configured

COMPARER = RowComparer(configured(file="prices.ndjson"))
MARK = RepairContext("erp-20260112T060000-abcd", "2026-01-12T06:00:00.000000Z")


def content(amount: str) -> bytes:
    """A payload as stored in the log."""
    return b'{"amount":"%b","currency":"EUR"}' % amount.encode()


def row(sku: str, version: int, amount: str = "9.90", *, read: bool = False) -> Row:
    """A row of the snapshot, with its line or with its decoded event."""
    line = json.dumps(
        {
            "type": "pricing",
            "sku": sku,
            "channel": "*",
            "source": "erp",
            "sourceVersion": version,
            "occurredAt": "2026-01-12T05:00:00Z",
            "payload": {"currency": "EUR", "amount": amount},
        }
    ).encode()
    return Row(7, parse_event(line) if read else None, line, said(sku, version, amount))


def said(sku: str, version: int, amount: str = "9.90", *, since: bool = False) -> bytes:
    """A head content; `since`: the stream has events since the run began."""
    return head_content(stream(sku), version, content(amount)) + b"\x1f" * since


def stream(sku: str) -> str:
    """The stream of a SKU."""
    return f"{sku}/*/pricing/erp"


def compared(rows: list[Row], *entries: bytes) -> Comparison:
    """Comparing without heads."""
    return COMPARER.compare(rows, entries, MARK)


@pytest.mark.parametrize("read", [False, True])
def test_what_entries_tell(read: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """Missing, newer, and equal rows need no head."""
    rows = [row("A", 3, read=read), row("B", 3, "8.00", read=read), row("D", 3, read=read)]
    found = compared(rows, said("B", 2), said("D", 3))
    assert [(each.originator_id, each.drift) for each in found.pending] == [
        (stream("A"), "missing"),
        (stream("B"), "newer"),
    ]
    assert (found.counts, found.live) == (RunCounts(equal=1), 2)
    assert (found.unresolved, found.unmatched) == ([], [])
    [change] = drift_details(found.pending[1]).changes
    assert (change.path, change.before, change.after) == ("amount", "9.90", "8.00")
    made = found.pending[1]
    assert made == PendingRepair(stream("B"), 3, 0, "pricing", made.state, 7, "newer", content("9.90"), made.content)
    assert json.loads(made.state) == {
        "id": f"{MARK.run_id}-7",
        "occurredAt": "2026-01-12T05:00:00.000000Z",
        "recordedAt": MARK.recorded_at,
        "runId": MARK.run_id,
        "drift": "newer",
        "payload": {"amount": "8.00", "currency": "EUR"},
    }
    assert row_event_of(found.pending[1]).event.content == content("8.00")


@pytest.mark.parametrize(
    "beside",
    [
        said("A", 3, "8.00"),
        said("A", 2, since=True),
        said("A", 3, "8.00", since=True),
        stream("A").encode() + b"\x1fx/pricing/erp\x1f3\x1f",
        stream("A").encode() + b"\x1f3\x1f/pricing/erp\x1f3\x1f",
    ],
)
def test_what_only_heads_tell(beside: bytes) -> None:
    """Other content at the same version, events since the run began, and unusual names need a head."""
    found = compared([row("A", 3)], beside)
    assert (found.pending, found.counts, found.live) == ([], RunCounts(), 0)
    assert [each.event.originator_id for each in found.unresolved] == [stream("A")]
    state = b'{"id":"1","occurredAt":"x","recordedAt":"x","payload":%b}' % content("8.00")
    found.resolve([StoredEvent(1, stream("A"), 3, 4, "pricing", state)], MARK)
    [pending] = found.pending
    assert (pending.drift, pending.revision, pending.before) == ("changed", 5, content("8.00"))
    assert (found.unresolved, found.live) == ([], 1)


def test_a_row_that_is_older_is_shown_its_head() -> None:
    """The time of the head decides: the row is late, shows a restarted counter, or is a recreated record."""
    found = compared([row("A", 3)], said("A", 4))
    assert [each.event.originator_id for each in found.unresolved] == [stream("A")]
    state = b'{"id":"1","occurredAt":"x","recordedAt":"x","payload":%b}' % content("8.00")
    head = StoredEvent(1, stream("A"), 4, 0, "pricing", state)
    found.resolve([head], MARK)
    assert (found.counts, found.live, found.pending) == (RunCounts(older=1), 1, [])
    [(number, event, newest)] = found.older_rows
    assert (number, event.originator_version, newest) == (7, 3, head)


@pytest.mark.parametrize(("drift", "default_id"), [("newer", "erp-%d-7"), ("orphan", "erp-%d-withdrawn-7")])
def test_an_event_is_written_alike_whoever_has_named_it(drift: DriftKind, default_id: str) -> None:
    """With the source's id or a made one, the stored bytes are the same."""
    states = repair_encoder("erp-%d", "2026-01-12T06:00:00.000000Z", drift)
    nameless = ValidatedEvent(stream("A"), 3, "pricing", content("%b"), "2026-01-12T05:00:00.000000Z", None, None)
    named = msgspec.structs.replace(nameless, id=default_id)
    assert states.state(nameless, 7) == states.state(named, 8)
    traced = msgspec.structs.replace(nameless, correlation_id="trace")
    assert json.loads(states.state(traced, 7)) == {**json.loads(states.state(named, 8)), "correlationId": "trace"}


def test_what_no_row_names_and_what_is_refused() -> None:
    """Streams without a row are returned; an invalid row repairs nothing, but its stream has a row."""
    found = compared([row("A", 3, "dear"), row("B", 3, "dear")], said("A", 2), said("C", 1), said("D", 1))
    assert found.unmatched == [stream("C").encode(), stream("D").encode()]
    assert (found.pending, found.counts, found.live) == ([], RunCounts(refused=2), 1)
    assert [each.path for each in found.refusals] == ["payload.amount"] * 2


def test_what_is_equal_is_not_looked_at() -> None:
    """Equal entries are split off by their bytes; the others are returned in order."""
    rows = [row("A", 1), row("B", 1), row("C", 1)]
    found, different, others = split_equal(rows, [said("A", 1), said("B", 2), said("D", 1)])
    assert (found.counts, found.live) == (RunCounts(equal=1), 1)
    assert (different, others) == (rows[1:], [said("B", 2), said("D", 1)])
    found, different, others = split_equal(rows, [each.entry for each in rows])
    assert (found.counts, different, others) == (RunCounts(equal=3), [], [])
