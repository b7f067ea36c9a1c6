"""Requests that count by their headers."""

from collections.abc import Mapping, Sequence

from pagefold.engine.intake.formats.json_bodies import Headers
from pagefold.engine.intake.formats.request_parts import IgnoredMessage


class HeaderFilter:
    """Which requests count by `only_headers` of the table `key`, and which of their headers are needed.

    `headers` are those that have to be stored with a request that is kept, in lower case.
    """

    def __init__(self, allowed: Mapping[str, Sequence[object]], key: str, needed: frozenset[str]) -> None:
        self.headers = frozenset([*allowed, *needed])
        self._allowed = allowed
        self._key = key

    def ignored_by_headers(self, headers: Headers, *, partial: bool = False) -> IgnoredMessage | None:
        """Why the headers exclude a request. With `partial`, headers that are absent may not have been stored."""
        if not self._allowed:
            return None
        given = {name.lower().decode("latin-1"): value.strip(b" \t").decode("latin-1") for name, value in headers}
        for name, values in self._allowed.items():
            value = given.get(name)
            if (value is None and partial) or value in values:
                continue
            return IgnoredMessage("filter", f"the value of header {name} is not among {self._key}.only_headers")
        return None
