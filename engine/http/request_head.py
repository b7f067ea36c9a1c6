"""Checks of a request's head (RFC 9112), beyond those of the parser.

A proxy in front of this server reads the same bytes. A request that the two could read differently is refused: one
might take for a request what the other takes for a body.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from pagefold.engine.http.headers import Header
from pagefold.engine.http.problems import Problem

HOST, TRANSFER_ENCODING, EXPECT, UPGRADE = b"host", b"transfer-encoding", b"expect", b"upgrade"
WATCHED = frozenset([HOST, TRANSFER_ENCODING, EXPECT])
"""Headers that the protocol itself reads."""

VERSIONS = frozenset(["1.0", "1.1"])
_host = re.compile(rb"(?:\[[0-9A-Za-z:.%]+\]|[\w.~%!$&'()*+,;=-]*)(?::\d*)?", re.ASCII)


def without_offer(method: bytes, target: bytes, version: str, headers: Iterable[Header]) -> bytes:
    """A head without its offer of another protocol.

    A server that does not accept the offer ignores it (RFC 9110, section 7.8), and the body follows.
    """
    lines = [b"%b %b HTTP/%b" % (method, target, version.encode())]
    lines += [b"%b: %b" % (name, value) for name, value in headers if name != UPGRADE]
    return b"\r\n".join([*lines, b"", b""])


def transfer_coding_error(value: bytes) -> Problem | None:
    """Why a `Transfer-Encoding` leaves the body's length unknown; None for `chunked` alone."""
    coding = value.strip().lower()
    if coding == b"chunked":
        return None
    if coding.endswith(b"chunked"):
        return Problem(501, "the only supported transfer coding is chunked")
    return Problem(400, "Transfer-Encoding must be chunked: the end of the body is unknown otherwise")


def version_error(version: str, *, is_coded: bool) -> Problem | None:
    """Why a version other than 1.1 is refused; None for 1.0, which has no transfer codings."""
    if version not in VERSIONS:
        return Problem(505, "the supported HTTP versions are 1.0 and 1.1")
    return Problem(400, "HTTP/1.0 has no Transfer-Encoding") if is_coded else None


def host_error(value: bytes | None) -> Problem | None:
    """Why a `Host` is invalid for HTTP/1.1; None if it is valid."""
    if value is None:
        return Problem(400, "HTTP/1.1 needs the header Host")
    return None if _is_host(value) else Problem(400, "Host must be a name or an address, with an optional port")


@lru_cache(maxsize=64)
def _is_host(value: bytes) -> bool:
    return _host.fullmatch(value) is not None


def host_in_target(host: bytes, port: int | None) -> bytes:
    """The `Host` of a target in absolute form, which overrides the header."""
    return host if port is None else b"%b:%d" % (host, port)
