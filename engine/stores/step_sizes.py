"""How many streams a scan reads at a time, so that reads of large events are rarely refused."""

from typing import Generic, TypeVar

Item = TypeVar("Item")

INITIAL_BYTES = 64 * 1024
"""The assumed bytes of a stream before any was read."""

SHRINK_FACTOR = 16
"""How much smaller the next read is after one that was too large by an unknown amount."""

UNBOUNDED = 2**31 - 1
"""More bytes than a value can have."""


class StepTooLarge(Exception):  # not an error: fewer are read instead
    """These streams are too large to be read together, or ambiguous; `size` are their bytes, if known."""

    def __init__(self, size: int = 0) -> None:
        self.size = size


class StepSize:
    """The estimated bytes of a stream, from the streams read before.

    It rises at once if they are large, and falls by at most half with every read if they are not.
    """

    def __init__(self) -> None:
        self._bytes = INITIAL_BYTES

    def streams(self, limit: int, max_bytes: int) -> int:
        """How many to read together. An eighth stays free, since sizes vary."""
        return max(min(limit, max_bytes * 7 // 8 // self._bytes), 1)

    def record_read(self, streams: int, size: int) -> None:
        """Records a read of `streams` streams with `size` bytes."""
        self._bytes = max(size // streams, self._bytes // 2, 1)

    def record_too_large(self, streams: int, size: int) -> None:
        """Records that `streams` streams together were too large."""
        self._bytes = max(size // streams, 2 * self._bytes)


class StepReader(Generic[Item]):
    """A step, in as many reads as it needs: each of `streams` streams after the name `end`, with at most `max_bytes`.

    At the end, `found` has what was read, and `end` the last stream, None if no more can follow. It covers at most
    `limit` streams; fewer, but at least one, if they and the next one have more than half of its bytes.
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
        """Takes the result of a read: items, the last stream if more may follow, and bytes.

        True if the step is complete.
        """
        self._step_size.record_read(self.streams, size)
        self.found += items
        self.end = end
        self._streams_left -= self.streams
        self._bytes_left -= size
        self._next()
        return end is None or not self._streams_left or self._bytes_left < self._min_bytes_left

    def refuse(self, refused: StepTooLarge) -> bool:
        """Records that a read was too large. True if the step is complete."""
        if self.streams == 1 and self.max_bytes == UNBOUNDED:
            raise refused
        if self.streams == 1:
            return True
        self._step_size.record_too_large(self.streams, refused.size or SHRINK_FACTOR * self._bytes_left)
        self._next()
        return False
