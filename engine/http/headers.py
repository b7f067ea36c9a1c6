"""Headers that every answer has, ready to be sent."""

from typing import TypeAlias

Header: TypeAlias = tuple[bytes, bytes]

JSON = (b"content-type", b"application/json")
NO_STORE = (b"cache-control", b"no-store")
"""Of every answer but a page: nobody else is to have it, and it may be another one the next moment."""

SECURITY: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""What a browser is told, should one ever see an answer: it is data, runs nothing, and is framed by nobody."""


def value_of(headers: list[Header], name: bytes) -> bytes | None:
    """The first value of a header, by its name in small letters; None when there is none."""
    for key, value in headers:
        if key == name:
            return value
    return None


def values_of(headers: list[Header], name: bytes) -> list[bytes]:
    """All values of a header."""
    return [value for key, value in headers if key == name]
