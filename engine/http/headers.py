"""Headers that every response has."""

from typing import TypeAlias

Header: TypeAlias = tuple[bytes, bytes]

JSON = (b"content-type", b"application/json")
NO_STORE = (b"cache-control", b"no-store")
"""On every response but a page: it must not be cached."""

SECURITY: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""For browsers: the response is data, runs nothing, and must not be framed."""


def value_of(headers: list[Header], name: bytes) -> bytes | None:
    """The first value of a header, by its lower-case name; None if it is absent."""
    for key, value in headers:
        if key == name:
            return value
    return None


def values_of(headers: list[Header], name: bytes) -> list[bytes]:
    """All values of a header."""
    return [value for key, value in headers if key == name]
