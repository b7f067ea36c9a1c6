"""How far a step of a walk through the log goes, so that little is read in vain where events are large."""

from typing import Generic, TypeVar

Item = TypeVar("Item")

INITIAL_BYTES = 64 * 1024
"""What a stream may have that nobody has read yet."""

SHRINK_FACTOR = 16
"""So many times smaller is the read that follows one that was too large, by an unknown size."""

UNBOUNDED = 2**31 - 1
"""More bytes than a value may have."""


class StepTooLarge(Exception):  # no error: fewer are asked for
    """What so many streams give cannot be held together, or not be told apart; `size` are its bytes, where known."""

    def __init__(self, size: int = 0) -> None:
        self.size = size


class StepSize:
    """What a stream has in bytes, reckoned from the streams that were read before.

    It rises at once where they are large, and falls with every read, down to its half, where they are not.
    """

    def __init__(self) -> None:
        self._bytes = INITIAL_BYTES

    def streams(self, limit: int, max_bytes: int) -> int:
        """How many to read together. An eighth is left free, for they are not all of the same size."""
        return max(min(limit, max_bytes * 7 // 8 // self._bytes), 1)

    def record_read(self, streams: int, size: int) -> None:
        """So many were read, with so many bytes."""
        self._bytes = max(size // streams, self._bytes // 2, 1)

    def record_too_large(self, streams: int, size: int) -> None:
        """So many were too large together."""
        self._bytes = max(size // streams, 2 * self._bytes)


class StepReader(Generic[Item]):
    """A step, in as many reads as it needs: of `streams` streams behind the name `end`, with `max_bytes` at most.

    When it is over, what was read is `found`, and the last of the streams is the `end`; None when no more can follow.
    It looks at `limit` streams at most; at fewer, but one at least, where they and the next one have more than half
    of the bytes that it may have.
    """

    def __init__(self, stride: StepSize, after: str, limit: int, max_bytes: int) -> None:
        self.found: list[Item] = []
        self.end: str | None = after
        self._step_size = stride
        self._begin = after
        self._streams_left, self._bytes_left = limit, max_bytes
        self._min_bytes_left = max_bytes // 2
        self._next()

    def _next(self) -> None:
        self.streams = self._step_size.streams(self._streams_left, self._bytes_left)
        alone = self.streams == 1 and self.end == self._begin
        self.max_bytes = UNBOUNDED if alone else self._bytes_left

    def read(self, items: list[Item], end: str | None, size: int) -> bool:
        """What these streams give, the last of them when more may follow, and its bytes. True when the step is over."""
        self._step_size.record_read(self.streams, size)
        self.found += items
        self.end = end
        self._streams_left -= self.streams
        self._bytes_left -= size
        self._next()
        return end is None or not self._streams_left or self._bytes_left < self._min_bytes_left

    def refuse(self, refused: StepTooLarge) -> bool:
        """They are too many together. True when the step is over."""
        if self.streams == 1 and self.max_bytes == UNBOUNDED:
            raise refused
        if self.streams == 1:
            return True
        self._step_size.record_too_large(self.streams, refused.size or SHRINK_FACTOR * self._bytes_left)
        self._next()
        return False
