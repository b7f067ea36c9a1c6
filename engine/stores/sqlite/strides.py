"""How far a step of a walk through the log goes where events are large.

SQLite reads everything before it says that it is too large, and then it has been read in vain.
"""

from collections.abc import Callable
from typing import TypeAlias, TypeVar

import apsw

Item = TypeVar("Item")

FIRST_BYTES = 64 * 1024
"""What a stream may have that nobody has read yet."""

FALL = 16
"""The next read is so many times smaller than one that was too large: small ones cost less than what is read in vain."""

UNBOUNDED = 2**31 - 1
"""More bytes than a value may have."""


class TooMany(Exception):  # no error: fewer are asked for
    """What was read cannot be told apart: fewer streams must be read at a time."""


Read: TypeAlias = Callable[[str, int, int], tuple[list[Item], str | None, int]]
"""Reads so many streams behind a name: what they give, the last of them when there may be more, and how many bytes.

Raises `TooBigError` where they have more bytes than may be, and `TooMany`; of one stream neither, if that is all alone.
"""


class Stride:
    """How many streams can be read together, reckoned from how large those before them were.

    It falls at once where they are large, and grows with every read, up to twice as large, where they are not.
    """

    def __init__(self) -> None:
        self._bytes = FIRST_BYTES

    def read(self, read: Read[Item], after: str, limit: int, max_bytes: int) -> tuple[list[Item], str | None]:
        """What the next streams behind a name give, and the last of them when there may be more.

        They are `limit` at most; fewer, but one at least, where they and the next one have more than half of
        `max_bytes`.
        """
        found: list[Item] = []
        end, left, room = after, limit, max_bytes
        while True:
            some = self._streams(left, room)
            alone = some == 1 and end == after
            try:
                items, stop, size = read(end, some, UNBOUNDED if alone else room)
            except (apsw.TooBigError, TooMany):
                if alone:
                    raise
                if some == 1:
                    return found, end
                self._bytes = max(FALL * room // some, 2 * self._bytes)
                continue
            self._bytes = max(size // some, self._bytes // 2, 1)
            found += items
            left, room = left - some, room - size
            if stop is None or not left or room < max_bytes // 2:
                return found, stop
            end = stop

    def _streams(self, limit: int, max_bytes: int) -> int:
        """An eighth is left free, for they are not all of the same size."""
        return max(min(limit, max_bytes * 7 // 8 // self._bytes), 1)
