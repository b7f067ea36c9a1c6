"""Which paths of a mapping some record should have: each one, but of alternatives only one."""

from collections.abc import Iterator
from contextlib import contextmanager


class PathNeeds:
    """Collects the paths of one mapping while it is compiled.

    Of alternatives, as in `first_of`, one is enough; none is needed where one of them reads no path, or has a default.
    """

    def __init__(self) -> None:
        self._groups: list[set[str]] = []
        self._open: set[str] | None = None
        self._reads = 0
        self._can_do_without = False

    @property
    def groups(self) -> frozenset[frozenset[str]]:
        """Sets of paths, of each of which some record should have one."""
        return frozenset(map(frozenset, self._groups))

    def add(self, path: str) -> None:
        """Notes a path."""
        self._reads += 1
        if self._open is None:
            self._groups.append({path})
        else:
            self._open.add(path)

    @contextmanager
    def alternatives(self) -> Iterator[None]:
        """What is noted meanwhile is one group. Within another one, it belongs to that."""
        if self._open is not None:
            yield
            return
        self._open, self._can_do_without = set(), False
        yield
        if self._open and not self._can_do_without:
            self._groups.append(self._open)
        self._open = None

    @contextmanager
    def alternative(self) -> Iterator[None]:
        """One of them, if there are alternatives at all."""
        before = self._reads
        yield
        self._can_do_without = self._can_do_without or self._reads == before

    @contextmanager
    def ignored(self) -> Iterator[None]:
        """What is noted meanwhile is not needed: there is a default."""
        outer, self._open = self._open, set()
        yield
        self._open, self._can_do_without = outer, True
