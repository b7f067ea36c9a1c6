"""Cursors: how far a follower of the pages has come, as a value and as the text that it keeps."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Self

import msgspec

from pagefold.engine.errors import UnknownCursor
from pagefold.engine.stores.feed_records import NotedPlace

MAX_CURSOR_CHARACTERS = 2_048

MARK_BYTES = 12
"""Bytes of a mark of the log that a cursor has."""

Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Witness(msgspec.Struct, frozen=True, array_like=True):
    """The newest event of the log after the pages were read, and its mark: the pages may show anything up to there."""

    position: Number
    mark: str


class Walk(msgspec.Struct, frozen=True, array_like=True):
    """A walk over all pages, in order: the last SKU that was named, "" before the first.

    `shown` is the number of the configuration whose pages the follower has, None if it has none: then the walk is a
    replay from 0. `number` is that of the configuration when the walk began. It `ends` once every SKU was named, and
    those that were removed meanwhile are to be named.
    """

    after: str
    shown: int | None
    number: int
    ends: bool = False


class FeedCursor(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """How far a follower has come.

    The log was read up to `position`, and the indirect changes of each domain up to `noted`. `number` is that of the
    configuration under which the pages were read, -1 before the first. During a walk, positions are those at its start.
    """

    log_id: str
    position: Number
    witness: Witness
    number: Annotated[int, msgspec.Meta(ge=-1)]
    noted: dict[str, NotedPlace]
    walk: Walk | None = None

    def __str__(self) -> str:
        """The text of the cursor, for a URL and a header."""
        return urlsafe_b64encode(msgspec.json.encode(self)).rstrip(b"=").decode()

    @classmethod
    def parse(cls, text: str) -> Self:
        """The cursor of a text. Raises `UnknownCursor`."""
        if not text.isascii() or len(text) > MAX_CURSOR_CHARACTERS:
            raise UnknownCursor(text[:MAX_CURSOR_CHARACTERS])
        try:
            cursor = msgspec.json.decode(urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=cls)
        except (binascii.Error, ValueError):  # a msgspec error is one
            raise UnknownCursor(text) from None
        if str(cursor) != text:
            raise UnknownCursor(text)
        return cursor

    @property
    def is_replay(self) -> bool:
        """Whether the follower has not been given every page yet."""
        return self.walk is not None and self.walk.shown is None

    def is_covered_by(self, other: "FeedCursor") -> bool:
        """Whether everything up to this cursor was read by another one of the same log, which does not walk."""
        return (
            (self.log_id, self.number, self.walk, other.walk) == (other.log_id, other.number, None, None)
            and self.position <= other.position
            and all(place.number <= _number_of(other, domain) for domain, place in self.noted.items())
        )

    def is_ahead_of(self, other: "FeedCursor") -> bool:
        """Whether something up to this cursor was not read by another one."""
        return (
            self.log_id != other.log_id
            or self.number > other.number
            or self.position > other.position
            or any(place.number > _number_of(other, domain) for domain, place in self.noted.items())
        )


def _number_of(cursor: FeedCursor, domain: str) -> int:
    place = cursor.noted.get(domain)
    return 0 if place is None else place.number
