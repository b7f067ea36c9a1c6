"""The names by which a server answers that lets everybody on this machine do everything.

A page in a browser on this machine, from anywhere, may ask whatever its own name leads to. Whoever owns a name can have
it lead to 127.0.0.1 after the page was loaded ("DNS rebinding"), and then the browser takes this server for his. It
still says his name in `Host`.
"""

import re
from collections.abc import Iterable

from pagefold.engine.http.authorization import is_loopback

MOST_KNOWN = 64
"""Values of `Host` that are remembered as good."""

_host = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::\d*)?")


class AllowedHosts:
    """`names` are those beside `localhost` and the addresses of this machine's own."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(map(_plain, names))
        self._known: set[bytes] = set()

    def admits(self, value: bytes) -> bool:
        """Whether a `Host` has one of the names, at whatever port."""
        if value in self._known:
            return True
        found = _host.fullmatch(value.decode("latin-1"))
        if found is None or not ((name := _plain(found[1])) in self._names or is_loopback(name)):
            return False
        if len(self._known) < MOST_KNOWN:
            self._known.add(value)
        return True


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")
