"""What was made of pages that were read before, while nothing has changed."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeAlias

from pagefold.engine.stores.store import Made
from pagefold.projections.splicer import StoredSection

Rows: TypeAlias = Sequence[StoredSection]
Key: TypeAlias = tuple[str, str]
"""SKU and channel."""


class PageCache(Generic[Made]):
    """Caches what `make` makes of pages until the store has another version.

    A version is any value that differs after something was committed. Rows must be read after the version that they
    are added with: they are then as new, or newer.

    If the cache does not pay, because pages change all the time or reads rarely repeat, nothing is cached for a while.
    It is bounded: the rows behind it have `MAX_BYTES`, and no entry more than `MAX_ENTRY_BYTES`. The oldest entry goes
    first.
    """

    TRIAL = 10_000
    """Reads after which it is seen whether it pays: when one in four was remembered."""
    REST = 100_000
    """Reads without a memory, when it does not."""
    MAX_BYTES = 16 * 1024 * 1024
    MAX_ENTRY_BYTES = 16_384
    OVERHEAD = 1_000
    """Bytes of a page beside those that its sections show."""

    def __init__(self, make: Callable[[str, str, Rows], Made]) -> None:
        self._make = make
        self._version: object = None
        self._made: dict[Key, tuple[int, Made]] = {}
        self._bytes = self._hits = self._reads = self._resting = 0

    def rests(self, reads: int) -> bool:
        """Whether nothing is cached at present, not even these reads."""
        if not self._resting:
            return False
        self._resting = max(self._resting - reads, 0)
        return True

    def refresh(self, version: object) -> None:
        """Forgets everything if the store has another version."""
        if version != self._version:
            self._version = version
            self._forget()

    def cached(self, keys: Sequence[Key]) -> tuple[dict[Key, Made], object]:
        """What is cached for some pages, and the version for `add`."""
        found = {key: self._made[key][1] for key in keys if key in self._made}
        self._reads += len(keys)
        self._hits += len(found)
        if self._reads >= self.TRIAL:
            self._review()
        return found, self._version

    def add(self, version: object, key: Key, rows: Rows) -> Made:
        """Makes the result of a page that was read after `cached`, and keeps it unless something has changed since.

        Without a version, it is not kept.
        """
        made = self._make(*key, rows)
        if version is not None and version is self._version and not self._resting:
            self._keep(key, rows, made)
        return made

    def _keep(self, key: Key, rows: Rows, made: Made) -> None:
        size = self.OVERHEAD + sum([len(row[4] or b"") for row in rows])
        if size > self.MAX_ENTRY_BYTES:
            return
        self._bytes += size - self._made.pop(key, (0, None))[0]
        self._made[key] = (size, made)
        while self._bytes > self.MAX_BYTES:
            self._bytes -= self._made.pop(next(iter(self._made)))[0]

    def _forget(self) -> None:
        self._made.clear()
        self._bytes = 0

    def _review(self) -> None:
        if self._hits < self.TRIAL / 4:
            self._resting = self.REST
            self._forget()
        self._hits = self._reads = 0
