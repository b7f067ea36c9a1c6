"""The checks at the end: the invariants of the design, on the files of the store only."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from pagefold.engine.stores.section_rows import decode_sections
from pagefold.projections.section_fold import sections_of
from tests.simulation.journal import Answer, Journal, content_of, place_of
from tests.simulation.model import DOMAINS, EPOCHS, VERSION_BITS, Fold, Row, Shown, encoded, history_of, in_order
from tests.support.power_loss import SYSTEM

Observations = Mapping[tuple[str, str, str], Sequence[Shown]]
"""The states of each section that a reader has seen, in order."""


class Counted(NamedTuple):
    """A checkpoint, and its counts of the events up to there."""

    domain: str
    position: int
    applied: int
    stale: int
    dead: int


class StoredSection(NamedTuple):
    """A section in the store."""

    sku: str
    channel: str
    domain: str
    shown: Shown


class Files(NamedTuple):
    """The content of a store's two files."""

    log: list[Row]
    end: int
    checkpoints: list[Counted]
    kept: set[tuple[str, int, bytes]]
    """The conflicts among dead letters: stream, version, content."""

    sections: list[StoredSection]

    @classmethod
    def read(cls, folder: Path) -> "Files":
        """Reads them without any change."""
        events, pages = raw(folder / "events.db"), raw(folder / "pages.db")
        try:
            return cls(
                [row_of(*row) for row in events.execute(_LOG)],
                events.execute(_END).get,
                [Counted(*row) for row in pages.execute(_CHECKPOINTS)],
                {kept_of(*row) for row in events.execute(_KEPT)},
                kept_sections(pages.execute(_SECTIONS)),
            )
        finally:
            events.close()
            pages.close()

    def of_domains(self) -> list[Row]:
        """The domain events of the log, by position."""
        return [row for row in self.log if row.topic in DOMAINS]

    def up_to_date(self) -> bool:
        """Whether every domain is folded to the end of the log."""
        return len(self.checkpoints) == len(DOMAINS) and all(each.position == self.end for each in self.checkpoints)


_LOG = (
    "SELECT notification_id, originator_id, originator_version, revision, topic, state FROM stored_events "
    "ORDER BY notification_id"
)
_CHECKPOINTS = "SELECT domain, position, applied, stale, dead FROM checkpoints"
_KEPT = "SELECT domain, state, originator_id, originator_version FROM dead_letters"
_SECTIONS = "SELECT sku, domain, channels, flags, layout, contents FROM sections"
_END = "SELECT coalesce(max(notification_id), 0) FROM stored_events"


def row_of(position: int, stream: str, version: int, revision: int, topic: str, state: bytes) -> Row:
    """An event of the log. Applications' events are opaque."""
    known = topic in DOMAINS or stream == EPOCHS
    return Row(position, stream, version, revision, topic, json.loads(state) if known else {})


def kept_sections(rows: Iterable[Any]) -> list[StoredSection]:
    """The sections in rows, as a reader sees them."""
    return [
        StoredSection(*each[:3], (json.loads(each.versions), None if each.body is None else json.loads(each.body)))
        for each in sections_of(map(decode_sections, rows))
    ]


def kept_of(domain: str, state: bytes, stream: str, version: int) -> tuple[str, int, bytes]:
    """A conflict in dead letters: its stream, its source's version, its content."""
    return stream, version % VERSION_BITS, encoded(in_order(json.loads(state)["payload"])) if domain else b""


def raw(file: Path) -> apsw.Connection:
    """A connection that bypasses the simulated disk, and does not change the file."""
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READWRITE, vfs=SYSTEM)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    return connection


def copied(file: Path) -> bytes:
    """A consistent copy of a file in use."""
    connection = raw(file)
    content = connection.serialize("main")
    connection.close()
    return content


def end_of_log(folder: Path) -> int:
    """The last committed position."""
    events = raw(folder / "events.db")
    end: int = events.execute(_END).get
    events.close()
    return end


def is_up_to_date(folder: Path) -> bool:
    """Whether every domain is folded to the end of the log."""
    pages = raw(folder / "pages.db")
    positions = [row[0] for row in pages.execute("SELECT position FROM checkpoints")]
    pages.close()
    return positions == [end_of_log(folder)] * len(DOMAINS)


def check_whole(folder: Path) -> None:
    """Neither file is corrupt."""
    for name in ("events.db", "pages.db"):
        connection = raw(folder / name)
        found = connection.pragma("integrity_check")
        connection.close()
        assert found == "ok", f"{name} is corrupt: {found}"


def check_checkpoints(files: Files) -> None:
    """I5: no checkpoint is beyond the end of the log."""
    for each in files.checkpoints:
        assert each.position <= files.end, f"I5: {each} is beyond the end of the log, {files.end}"


def check_folded(files: Files, fold: Fold) -> None:
    """I5: up to its checkpoint a domain is folded: its sections are of that position, or of a later one."""
    folded = {each.domain: each.position for each in files.checkpoints}
    sections = {each[:3]: each.shown for each in files.sections}
    for key, stages in history_of(fold, files.of_domains()).items():
        until = [stage.shown for stage in stages if stage.position <= folded.get(key[2], 0)][-1:]
        allowed = until + [stage.shown for stage in stages if stage.position > folded.get(key[2], 0)]
        shown = sections.pop(key, None)
        assert shown in allowed or not (shown or until), f"I5: {key} is {shown}, folded to {folded}, not of {allowed}"
    assert not sections, f"I5: {sections} are of no stream"


def check_answers(files: Files, journal: Journal) -> None:
    """I1, I8, I12: every acknowledged event is in the log at its position; a conflict is a dead letter."""
    by_position = {row.position: row for row in files.log}
    contents = defaultdict(set)
    for row in files.of_domains():
        contents[row.place].add(_content(row))
    for answer in journal.answers:
        place, content = place_of(answer.sent.event), content_of(answer.sent.event)
        _check_answer(answer, by_position, contents[place])
        if answer.outcome == "duplicate" and journal.submitted[place, content] == 1:
            first = by_position[answer.position or 0]
            assert "runId" in first.state, f"I1: {answer}: it was sent once"
        if answer.outcome == "conflict":
            assert (*place, content) in files.kept, f"I8: {answer} is not in dead letters"


def _check_answer(answer: Answer, by_position: Mapping[int, Row], contents: set[bytes]) -> None:
    sent, outcome, position, *_ = answer
    assert (outcome == "rejected") == sent.refused, f"{answer}: it is {'' if sent.refused else 'not '}to be refused"
    if outcome == "rejected":
        return
    row = by_position.get(position or 0)
    assert row is not None, f"I1: {answer}: there is no such position"
    assert row.place == place_of(sent.event), f"I1: {answer}: {row} is there"
    content = content_of(sent.event)
    if outcome == "conflict":
        assert contents - {content}, f"I8: {answer}: the log has only this content"
    else:
        assert content in contents, f"I1: {answer}: the log does not have this content"
        assert outcome != "appended" or _content(row) == content, f"I1: {answer}: {row} is there"


def check_origin(files: Files, journal: Journal) -> None:
    """I2: every event in the log was submitted, or comes from a rebuild, and is there once."""
    positions = [row.position for row in files.log]
    assert positions == sorted(set(positions)), "I2: positions are not in order"
    places = Counter((row.stream, row.version, row.revision) for row in files.log)
    assert not [place for place, times in places.items() if times > 1], "I2: an event stands in the log twice"
    by_rank = {(row.stream, row.rank): row for row in files.of_domains()}
    for row in by_rank.values():
        if "runId" in row.state:
            continue
        assert journal.submitted[row.place, _content(row)], f"I2: {row} was never sent"
        if row.revision:  # it was sent again, after a rebuild had withdrawn it
            before = by_rank.get((row.stream, (row.version, row.revision - 1)))
            healed = before is not None and before.state.get("drift") == "orphan"
            assert healed, f"I2: {row} is a correction of {before} by no one"


def check_pages(files: Files, fold: Fold, pages: Mapping[tuple[str, str], bytes]) -> None:
    """I3, I6, I7: every page is the fold of the log, byte for byte; none is surplus, and none is missing."""
    expected = fold.pages(files.log)
    assert sorted(pages) == sorted(expected), f"I7: {sorted(set(pages) ^ set(expected))} are not where they should be"
    for key, page in pages.items():
        assert page == expected[key], f"I3: page {key}\n   is {page.decode()}\nnot   {expected[key].decode()}"


def check_counts(files: Files) -> None:
    """I10, I11: everything is folded, and the counts of events are exact."""
    assert files.up_to_date(), f"I11: {files.checkpoints} with a log that ends at {files.end}"
    events = Counter(row.topic for row in files.of_domains())
    for each in files.checkpoints:
        assert each.applied + each.stale + each.dead == events[each.domain], f"I10: {each} of {events[each.domain]}"


def check_readers(files: Files, fold: Fold, observations: Sequence[Observations]) -> None:
    """I4: what a reader saw of a section was right at some position, and not older than what it saw before."""
    history = history_of(fold, files.of_domains())
    for seen in observations:
        for key, states in seen.items():
            _check_order(key, states, [stage.shown for stage in history.get(key, [])])


def _check_order(key: tuple[str, str, str], states: Sequence[Shown], history: Sequence[Shown]) -> None:
    place = 0
    for state in states:
        while place < len(history) and history[place] != state:
            place += 1
        if place == len(history):
            kind = "an older state again" if state in history else "what it never was"
            problem = f"I4: {key} was shown as {kind}: {state}\n  seen: {list(states)}\n  was: {list(history)}"
            raise AssertionError(problem)


def _content(row: Row) -> bytes:
    return encoded(in_order(row.state["payload"]))
