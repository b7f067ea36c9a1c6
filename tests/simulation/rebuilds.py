"""The limits of rebuilds: what they append is in a snapshot, and what they withdraw is not."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from tests.simulation.checks import Files
from tests.simulation.epochs import Epochs
from tests.simulation.journal import Answer, Journal, content_of
from tests.simulation.model import Row, encoded, heads_of, in_microseconds, in_order
from tests.simulation.snapshots import Snapshot, SnapshotRow

SHARE, MOST, FEWEST = 0.05, 500, 5
"""The share of live streams that a run may withdraw unconfirmed."""


def check_rebuilds(files: Files, snapshots: Mapping[str, Snapshot]) -> None:
    """I2, I7, I14 for every event of a rebuild."""
    withdrawn: Counter[str] = Counter()
    lost: Counter[tuple[str, str]] = Counter()
    for row in files.of_domains():
        run = row.state.get("runId")
        if run is None:
            continue
        assert run in snapshots, f"I2: {row} has an unknown run"
        if row.state["drift"] == "orphan":
            withdrawn[run] += 1
            _check_withdrawal(row, snapshots[run], files.of_domains())
            continue
        _check_repair(row, snapshots[run])
        if row.state["drift"] in ("newer", "changed"):
            lost.update((run, path) for path in _lost(row, files.log))
    for (run, path), times in lost.items():
        _check_brake(times + withdrawn[run] * (path == ""), snapshots[run], files, path)
    for run, times in withdrawn.items():
        _check_brake(times, snapshots[run], files, "")


def check_repaired(files: Files, snapshots: Sequence[Snapshot]) -> None:
    """I6: after a complete snapshot the log equals the source."""
    heads, epochs = heads_of(files.log), Epochs()
    for row in files.log:
        epochs.learn(row)
    for snapshot in snapshots:
        for stream, entry in snapshot.rows.items():
            head = heads.get(stream)
            assert head is not None, f"I6: {stream} is not in the log"
            placed = epochs.placed(stream, entry.version, entry.epoch, head)
            newer = head.version > placed and not _is_made_again(head, snapshot, entry)
            same = head.version == placed and _content(head) == entry.content
            assert newer or same, f"I6: {head} in place of {placed}, {entry}"
        for stream, head in heads.items():
            if stream.endswith("/" + snapshot.source) and stream not in snapshot.rows:
                gone = head.state["payload"] is None or snapshot.habits.trusted or _is_recent(head, snapshot)
                assert gone, f"I6: {head} is still there"


def check_healing(files: Files, journal: Journal) -> None:
    """I7: a stream that a rebuild has withdrawn returns when its source sends an event again."""
    revisions: dict[tuple[str, int], list[Row]] = defaultdict(list)
    by_position = {row.position: row for row in files.of_domains()}
    for row in by_position.values():
        revisions[row.stream, row.version].append(row)
    for answer in journal.answers:
        met = by_position.get(answer.position or 0)
        if met is None or answer.outcome not in ("duplicate", "conflict") or answer.sent.event["payload"] is None:
            continue
        stood = sorted(revisions[met.stream, met.version], key=lambda row: row.revision)
        before = [row for row in stood if row.position <= answer.behind]
        if before and before[-1].state.get("drift") == "orphan" and _sent_again(answer, before):
            assert len(stood) > len(before), f"I7: {answer} was said again, and stays withdrawn by {before[-1]}"


def _sent_again(answer: Answer, revisions: Sequence[Row]) -> bool:
    """Whether an event was sent after the withdrawal that ends these revisions."""
    *_, withdrawn, withdrawal = revisions
    occurred_at = in_microseconds(datetime.fromisoformat(answer.sent.event["occurredAt"]))
    if occurred_at > withdrawal.state["occurredAt"]:
        return True
    same = _content(withdrawn) == content_of(answer.sent.event)
    return same and in_microseconds(answer.at) > withdrawal.state["recordedAt"]


def _is_made_again(head: Row, snapshot: Snapshot, entry: SnapshotRow) -> bool:
    """Whether a row proves that its record was created again after its withdrawal."""
    withdrawn = head.state["payload"] is None and entry.content != b"null" and entry.epoch is None
    return withdrawn and not snapshot.habits.trusted and not _is_recent(head, snapshot)


def _is_recent(head: Row, snapshot: Snapshot) -> bool:
    """Whether the snapshot may not have it yet."""
    since = min(snapshot.since, snapshot.taken_at) - timedelta(seconds=snapshot.habits.settle + 1)
    newest: str = max(head.state["occurredAt"], head.state["recordedAt"])
    return newest >= in_microseconds(since)


def _check_repair(row: Row, snapshot: Snapshot) -> None:
    entry = snapshot.rows.get(row.stream)
    fits = entry is not None and (row.place[1], _content(row)) == entry[:2]
    assert fits, f"I2: {row} is not what the {snapshot.kind} snapshot says"


def _check_withdrawal(row: Row, snapshot: Snapshot, log: Sequence[Row]) -> None:
    assert row.state["payload"] is None, f"I7: {row} is no withdrawal"
    assert snapshot.proves, f"I14: {row} by a snapshot that proves nothing: {snapshot.kind}"
    assert row.stream not in snapshot.rows, f"I14: {row}, and the {snapshot.kind} snapshot has it"
    assert row.stream.endswith("/" + snapshot.source), f"I14: {row} by a snapshot of {snapshot.source}"
    since = in_microseconds(snapshot.since - timedelta(seconds=snapshot.habits.settle))
    head = heads_of(each for each in log if each.stream == row.stream and each.position < row.position)[row.stream]
    if head.rank > row.rank:  # a newer event arrived, and counts
        return
    sent_at = head.state["occurredAt" if snapshot.habits.marked else "recordedAt"]
    assert sent_at <= since, f"I14: {row}, and the source has sent events since {since}: {head}"


def _lost(row: Row, log: Sequence[Row]) -> list[str]:
    """The attributes, or "" for everything, that a correction removes from its stream."""
    before = max(
        (each for each in log if each.stream == row.stream and each.rank < row.rank and each.position < row.position),
        key=lambda each: each.rank,
    )
    had, has = before.state["payload"], row.state["payload"]
    if had is None:
        return []
    if has is None or not any(map(_says, has.values())):
        return [""] if any(map(_says, had.values())) else []
    attributes, left = had.get("attributes", {}), has.get("attributes", {})
    return [name for name, value in attributes.items() if _says(value) and not _says(left.get(name))]


def _says(value: object) -> bool:
    return value is not None and value not in ("", [], {})


def _check_brake(times: int, snapshot: Snapshot, files: Files, path: str) -> None:
    """At most the share of the streams that could be live then."""
    live = len({row.stream for row in files.of_domains() if row.stream.endswith("/" + snapshot.source)})
    allowed = max(min(int(live * SHARE), MOST), FEWEST)
    problem = f"I14: {times} of {live} streams of {snapshot.source} lose {path or 'everything'} unconfirmed"
    assert snapshot.confirmed or times <= allowed, problem


def _content(row: Row) -> bytes:
    return encoded(in_order(row.state["payload"]))
