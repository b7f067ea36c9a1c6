"""Checks `Host` on a server without tokens, which lets every caller on this machine do everything.

A page in a browser on this machine may request its own host name from anywhere. The owner of that name can point it at
127.0.0.1 after the page was loaded ("DNS rebinding"), and the browser then takes this server for his. The `Host` header
still has his name, so it is checked.
"""

import re
from collections.abc import Iterable

from pagefold.engine.http.authorization import is_loopback

MAX_REMEMBERED_HOSTS = 64
"""Accepted values of `Host` that are remembered."""

_host = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::\d*)?")


class AllowedHosts:
    """Accepts `names`, `localhost` and this machine's loopback addresses."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(map(_plain, names))
        self._known: set[bytes] = set()

    def allows(self, value: bytes) -> bool:
        """Whether a `Host` has one of the names, at any port."""
        if value in self._known:
            return True
        found = _host.fullmatch(value.decode("latin-1"))
        if found is None or not ((name := _plain(found[1])) in self._names or is_loopback(name)):
            return False
        if len(self._known) < MAX_REMEMBERED_HOSTS:
            self._known.add(value)
        return True


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")
