"""Whether a log is the one that was folded: what every place that keeps a position proves itself by.

A log has an identity, made with it. Beside every position that is kept stands the mark of the event there, a digest. A
log that was put back to an older state, or swapped, has another event at that position, or none, however much was
appended since: then nothing is appended or folded until a person has put the right log back, or has begun a recovery.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from pagefold.engine.errors import LogReplaced

MAX_MARKED_BYTES = 4_096
"""So much of a state is part of a mark, with its length: its own id and moments are among it."""

SEPARATOR = "\x1f"


class EventCounts(NamedTuple):
    """How many events of a domain there are, and in how many streams."""

    events: int
    streams: int


class ProvenPosition(NamedTuple):
    """A position that is kept. `what` was done up to there, for people; `log_id` and `mark` are None for none."""

    what: str
    position: int
    mark: bytes | None
    log_id: str | None


class Proof(ABC):
    """The identity of a store's log, what is proved by it, and the way back when it is another log."""

    @abstractmethod
    async def log_id(self) -> str:
        """The identity of the log, made once, with it."""

    @abstractmethod
    async def problem(self) -> str | None:
        """Why the log is not the one that was folded and appended to; None when it is. Names no place."""

    async def prove(self) -> None:
        """Returns when the log is the one that was folded and appended to. Raises `LogReplaced`."""
        if (problem := await self.problem()) is not None:
            raise LogReplaced(problem)

    @abstractmethod
    async def mark(self, position: int) -> bytes | None:
        """The mark of the event at a position; None when none stands there."""

    @abstractmethod
    async def count_events(self, domain: str, upto: int) -> EventCounts:
        """How many events of a domain stand up to a position, and of how many streams."""

    @abstractmethod
    async def begin_recovery(self) -> None:
        """Takes the log as it is, durably: every checkpoint begins anew, and nothing is held against the log.

        From then on a recovery is under way, until `end_recovery`.
        """

    @abstractmethod
    async def end_recovery(self) -> None:
        """Every page is folded again."""

    @abstractmethod
    async def is_recovering(self) -> bool:
        """Whether a recovery was begun and has not come to its end."""


async def proved_position(proof: Proof, application: str, position: int, mark: bytes | None) -> int:
    """A position that an application has tracked. Raises `LogReplaced` when it was marked in this log, and is another.

    What follows another log has no mark here, or that of an event which stays.
    """
    if mark is not None and await proof.mark(position) != mark:
        there = f"the application {application!r} has followed another one up to position {position}"
        raise LogReplaced(there)
    return position


def mark_of(stream: str, version: int, revision: int, topic: str, size: int, state: bytes) -> bytes:
    """The mark of an event: of `state`, its first bytes are enough, and `size` is that of all."""
    head = SEPARATOR.join((stream, str(version), str(revision), topic, str(size)))
    return sha256(head.encode() + state[:MAX_MARKED_BYTES]).digest()


def problem_of(log_id: str, end: int, kept: Sequence[tuple[ProvenPosition, bytes | None]]) -> str | None:
    """Why a log does not prove positions that are kept. Each has beside it the mark of what stands there now."""
    for each, _ in kept:
        if each.position and each.log_id not in (None, log_id):
            return f"{each.what} up to position {each.position} of another log" + ("" if end else ", and this is empty")
    for each, found in kept:
        if each.position and (found is None or each.mark != found):
            return f"{each.what} up to position {each.position}, {_found_instead(each.position, end, found)}"
    return None


def _found_instead(position: int, end: int, found: bytes | None) -> str:
    if position > end:
        return f"but the log ends at {end}: it was put back to an older state"
    if found is None:
        return "where the log has no event now: some were taken out of it"
    return "where the log has another event now: it was put back to an older state, and went on from there"
