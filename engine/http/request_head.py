"""What the head of a request must say and must not (RFC 9112), beside what the parser refuses by itself.

Whoever stands between a client and this server reads the same bytes. Where the two could read them differently, the
request is refused: else one of them would take for a request what the other took for a body.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from pagefold.engine.http.headers import Header
from pagefold.engine.http.problems import Problem

HOST, TRANSFER_ENCODING, EXPECT, UPGRADE = b"host", b"transfer-encoding", b"expect", b"upgrade"
WATCHED = frozenset([HOST, TRANSFER_ENCODING, EXPECT])
"""Headers that the protocol itself looks at."""

VERSIONS = frozenset(["1.0", "1.1"])
_host = re.compile(rb"(?:\[[0-9A-Za-z:.%]+\]|[\w.~%!$&'()*+,;=-]*)(?::\d*)?", re.ASCII)


def without_offer(method: bytes, target: bytes, version: str, headers: Iterable[Header]) -> bytes:
    """A head as it came, but for its offer to go on in another protocol.

    A server that does not take such an offer ignores it (RFC 9110, section 7.8), and what follows is the body.
    """
    lines = [b"%b %b HTTP/%b" % (method, target, version.encode())]
    lines += [b"%b: %b" % (name, value) for name, value in headers if name != UPGRADE]
    return b"\r\n".join([*lines, b"", b""])


def coding_fault(value: bytes) -> Problem | None:
    """Why the length of a body with this `Transfer-Encoding` is not known; None for `chunked` alone."""
    coding = value.strip().lower()
    if coding == b"chunked":
        return None
    if coding.endswith(b"chunked"):
        return Problem(501, "of the transfer codings there is chunked, and nothing beside it")
    return Problem(400, "Transfer-Encoding must be chunked: else nobody can tell where the body ends")


def version_fault(version: str, *, is_coded: bool) -> Problem | None:
    """Why a request of another version than 1.1 is refused; None for 1.0, in which there are no transfer codings."""
    if version not in VERSIONS:
        return Problem(505, "the versions of HTTP that are spoken here are 1.0 and 1.1")
    return Problem(400, "HTTP/1.0 has no Transfer-Encoding") if is_coded else None


def host_fault(value: bytes | None) -> Problem | None:
    """Why a `Host` is not what HTTP/1.1 needs; None where there is one, and it is well-formed."""
    if value is None:
        return Problem(400, "HTTP/1.1 needs the header Host")
    return None if _is_host(value) else Problem(400, "Host must be a name or an address, and perhaps a port")


@lru_cache(maxsize=64)
def _is_host(value: bytes) -> bool:
    return _host.fullmatch(value) is not None


def host_in_target(host: bytes, port: int | None) -> bytes:
    """The `Host` that a target in absolute form stands for: it counts instead of the header."""
    return host if port is None else b"%b:%d" % (host, port)
