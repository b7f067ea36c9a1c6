"""Whether a log is the one that was folded: the proof that every stored position carries.

A log has an identity, made with it. Next to every stored position is the mark, a digest, of the event there. A log that
was restored to an older state, or swapped, has another event at that position, or none, however much was appended
since. Nothing is then appended or folded until a person restores the right log or starts a recovery.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from pagefold.engine.errors import LogReplaced

MAX_MARKED_BYTES = 4_096
"""Bytes of a state that are part of its mark, with its length. They include its id and timestamps."""

SEPARATOR = "\x1f"


class EventCounts(NamedTuple):
    """How many events of a domain there are, and in how many streams."""

    events: int
    streams: int


class ProvenPosition(NamedTuple):
    """A stored position. `what` was done up to there, for messages; `log_id` and `mark` may be None."""

    what: str
    position: int
    mark: bytes | None
    log_id: str | None


class Proof(ABC):
    """The identity of a store's log, what it proves, and recovery if the log is another one."""

    @abstractmethod
    async def log_id(self) -> str:
        """The identity of the log, made with it."""

    @abstractmethod
    async def problem(self) -> str | None:
        """Why the log is not the one that was folded and appended to; None if it is. Does not name the store."""

    async def prove(self) -> None:
        """Checks that the log is the one that was folded and appended to. Raises `LogReplaced`."""
        if (problem := await self.problem()) is not None:
            raise LogReplaced(problem)

    @abstractmethod
    async def mark(self, position: int) -> bytes | None:
        """The mark of the event at a position; None if there is none."""

    @abstractmethod
    async def count_events(self, domain: str, upto: int) -> EventCounts:
        """Counts the events of a domain up to a position, and their streams."""

    @abstractmethod
    async def begin_recovery(self) -> None:
        """Accepts the log as it is, durably: every checkpoint starts over, no earlier mark or receipt counts.

        The recovery then lasts until `end_recovery`.
        """

    @abstractmethod
    async def end_recovery(self) -> None:
        """Ends the recovery, after every page was folded again."""

    @abstractmethod
    async def is_recovering(self) -> bool:
        """Whether a recovery was started and has not ended."""


async def proved_position(proof: Proof, application: str, position: int, mark: bytes | None) -> int:
    """An application's tracked position. Raises `LogReplaced` if its mark is not in this log.

    A follower of another log has no mark here, or that of an event which stays.
    """
    if mark is not None and await proof.mark(position) != mark:
        problem = f"the application {application!r} has followed another log up to position {position}"
        raise LogReplaced(problem)
    return position


def mark_of(stream: str, version: int, revision: int, topic: str, size: int, state: bytes) -> bytes:
    """The mark of an event. The first bytes of `state` are enough; `size` is its length."""
    head = SEPARATOR.join((stream, str(version), str(revision), topic, str(size)))
    return sha256(head.encode() + state[:MAX_MARKED_BYTES]).digest()


def problem_of(log_id: str, end: int, stored: Sequence[tuple[ProvenPosition, bytes | None]]) -> str | None:
    """Why a log does not prove stored positions; None if it does. Each comes with the mark that is there now."""
    for each, _ in stored:
        if each.position and each.log_id not in (None, log_id):
            problem = f"{each.what} up to position {each.position} of another log"
            return problem if end else f"{problem}, and this one is empty"
    for each, found in stored:
        if each.position and (found is None or each.mark != found):
            return f"{each.what} up to position {each.position}, {_found_instead(each.position, end, found)}"
    return None


def _found_instead(position: int, end: int, found: bytes | None) -> str:
    if position > end:
        return f"but the log ends at {end}: it was restored to an older state"
    if found is None:
        return "where the log now has no event: events were removed"
    return "where the log now has another event: it was restored to an older state, and appended to since"
