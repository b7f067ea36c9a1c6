"""Parses an endpoint's responses: finds the rows and the next page."""

import re
from typing import NamedTuple

import msgspec

from pagefold.domains.domain import DECODE_ERRORS
from pagefold.engine.configuration.endpoint_config import RequestConfig
from pagefold.engine.errors import SourceFailed
from pagefold.engine.snapshots.endpoint_client import EndpointResponse
from pagefold.engine.snapshots.json_paths import members_of, raw_at, value_at

_MAX_COUNT_DIGITS = 16
"""Digits."""

_value = msgspec.json.Decoder(msgspec.Raw)
_array = msgspec.json.Decoder(list[msgspec.Raw])
_half = re.compile(rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|u([dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL)
_covered = re.compile(rb"\\(?:u([eE][0-7][0-9a-fA-F]{2})|.)", re.DOTALL)
_SURROGATES, _COVERS = 0xD800, 0xE000
"""The start of the surrogates, and of the private-use characters that stand in for them."""


class RowsResponse(NamedTuple):
    """The content of a response.

    `next` is the cursor or the address of the next page, `last` the value by which the next page is asked for, with
    keyset paging: as JSON text where it goes into a body.
    """

    rows: list[msgspec.Raw]
    next: str | None
    total: int | None
    has_more: bool | None = None
    last: str | None = None


class ResponseParser:
    """Finds the rows, the next page and the total in a response. Raises `SourceFailed` if it cannot."""

    def __init__(self, name: str, settings: RequestConfig) -> None:
        self._name = name
        self._settings = settings
        self._after = None if settings.paging is None else settings.paging.after

    def read(self, answer: EndpointResponse) -> RowsResponse:
        """Parses a response."""
        try:
            return self._read(answer)
        except DECODE_ERRORS as error:
            if (covered := _cover(answer.body)) == answer.body:
                raise SourceFailed(self._name, f"the response is not JSON: {error}") from error
        page = self.read(answer._replace(body=covered))
        return page._replace(rows=[_uncover(row) for row in page.rows])

    def _read(self, answer: EndpointResponse) -> RowsResponse:
        settings, body = self._settings, answer.body
        rows = self._rows(body)
        total = answer.total if settings.total is None else self._count(body, settings.total)
        return RowsResponse(
            rows,
            answer.next if settings.cursor is None else self._cursor(body, settings.cursor),
            total if self._after is None else None,
            None if settings.has_more is None else self._boolean(body, settings.has_more),
            self._last_value(rows[-1], self._after) if rows and self._after is not None else None,
        )

    def _rows(self, body: bytes) -> list[msgspec.Raw]:
        path = self._settings.items or ""
        found = raw_at(body, path)
        if self._settings.takes_object and found is None and _ends_in_null(body, path):
            return []
        if self._settings.takes_object and found is not None and (text := bytes(found).strip())[:1] in (b"{", b"n"):
            return [] if text == b"null" else [_value.decode(text)]
        try:
            return _array.decode(found or b"null")
        except msgspec.ValidationError:
            place = f"at {path!r} in the response" if path else "as the response"
            hint = "" if path else "; set items to the path of the rows"
        raise SourceFailed(self._name, f"expected an array {place}, which is {_outline(body)}{hint}")

    def _cursor(self, body: bytes, path: str) -> str | None:
        match value_at(body, path):
            case None | False | "":
                return None
            case str() | int() as value:
                in_body = self._settings.cursor_member is not None
                return msgspec.json.encode(value).decode() if in_body else str(value)
            case _:
                pass
        raise SourceFailed(self._name, f"the cursor at {path!r} in the response is neither text nor an integer")

    def _boolean(self, body: bytes, path: str) -> bool:
        value = value_at(body, path)
        if not isinstance(value, bool):
            raise SourceFailed(self._name, f"expected true or false at {path!r} in the response, which has_more names")
        return value

    def _last_value(self, row: msgspec.Raw, path: str) -> str:
        value = value_at(row, path)
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise SourceFailed(
                self._name, f"a row has neither text nor an integer at {path!r}, which paging.after names"
            )
        return msgspec.json.encode(value).decode()

    def _count(self, body: bytes, path: str) -> int | None:
        match value_at(body, path):
            case None:
                return None
            case int() as value:
                return value
            case str() as text if text.isascii() and text.isdecimal() and len(text) < _MAX_COUNT_DIGITS:
                return int(text)
            case _:
                pass
        raise SourceFailed(self._name, f"the total at {path!r} in the response is not an integer")


def _ends_in_null(body: bytes, path: str) -> bool:
    """Whether a path leads through a null, as `data.product.variants` where there is no product.

    Null in place of all data is none: that is how GraphQL fails.
    """
    names = path.split(".")
    return any(bytes(raw_at(body, ".".join(names[:end])) or b"") == b"null" for end in range(2, len(names)))


def _outline(body: bytes) -> str:
    """Describes a response, to help with the configuration."""
    try:
        names = list(members_of(body))
    except msgspec.ValidationError:
        return "not an object"
    return f"an object with {', '.join(names[:10])}" if names else "an empty object"


def _cover(body: bytes) -> bytes:
    """The body with lone surrogates replaced, for a decoder that rejects them.

    One row that was cut inside a character must not stop the others: it is rejected alone.
    """
    return _half.sub(lambda match: _shifted(match, _COVERS - _SURROGATES), body)


def _uncover(row: msgspec.Raw) -> msgspec.Raw:
    return msgspec.Raw(_covered.sub(lambda match: _shifted(match, _SURROGATES - _COVERS), bytes(row)))


def _shifted(match: re.Match[bytes], distance: int) -> bytes:
    return match[0] if match[1] is None else b"\\u%04x" % (int(match[1], 16) + distance)
