"""Parses an endpoint's responses: finds the rows and the next page."""

import re
from typing import NamedTuple

import httpx2
import msgspec

from pagefold.domains.domain import DECODE_ERRORS
from pagefold.engine.configuration.endpoint_config import EndpointConfig, PagingConfig
from pagefold.engine.errors import SourceFailed
from pagefold.engine.snapshots.endpoint_client import EndpointClient, EndpointResponse
from pagefold.engine.snapshots.json_rows import members_of

_MAX_COUNT_DIGITS = 16
"""Digits."""

_array = msgspec.json.Decoder(list[msgspec.Raw])
_half = re.compile(rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|u([dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL)
_covered = re.compile(rb"\\(?:u([eE][0-7][0-9a-fA-F]{2})|.)", re.DOTALL)
_SURROGATES, _COVERS = 0xD800, 0xE000
"""The start of the surrogates, and of the private-use characters that stand in for them."""


class RowsResponse(NamedTuple):
    """The content of a response."""

    rows: list[msgspec.Raw]
    next: str | None
    total: int | None


class ResponseParser:
    """Finds the rows, the next page and the total in a response. Raises `SourceFailed` if it cannot."""

    def __init__(self, name: str, settings: EndpointConfig) -> None:
        self._name = name
        self._settings = settings

    def address(self, endpoint: EndpointClient, page: str | None) -> httpx2.URL:
        """The URL of a page."""
        first = httpx2.URL(self._settings.url or "")
        paging = self._settings.paging
        if paging is not None:
            return first.copy_set_param(paging.parameter, page or str(paging.start))
        if page is None:
            return first
        if self._settings.cursor_parameter is not None:
            return first.copy_set_param(self._settings.cursor_parameter, page)
        return endpoint.address(page, first)

    @property
    def may_shift(self) -> bool:
        """Whether changes of the listed data may move rows between pages."""
        return not self._settings.stable

    @property
    def are_numbered(self) -> bool:
        """Whether pages are found by number or by offset."""
        return self._settings.paging is not None

    def numbered(self, page: str | None, rows: int) -> str | None:
        """The number of the page after one with so many rows; None if that was the last, which has none."""
        paging = self._settings.paging or PagingConfig(parameter="")
        if not rows:
            return None
        return str(int(page or paging.start) + (rows if paging.step == "rows" else paging.step))

    def following(self, endpoint: EndpointClient, page: str | None, url: httpx2.URL) -> str | None:
        """The next page as an absolute reference."""
        if page is None or self._settings.cursor_parameter is not None:
            return page
        return str(endpoint.address(page, url))

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
        cursor, total = self._settings.cursor, self._settings.total
        return RowsResponse(
            self._rows(answer.body),
            answer.next if cursor is None else self._cursor(answer.body, cursor),
            answer.total if total is None else self._count(answer.body, total),
        )

    def _rows(self, body: bytes) -> list[msgspec.Raw]:
        path = self._settings.items or ""
        try:
            return _array.decode(_at(body, path) or b"null")
        except msgspec.ValidationError:
            place = f"at {path!r} in the response" if path else "as the response"
            hint = "" if path else "; set items to the path of the rows"
        raise SourceFailed(self._name, f"expected an array {place}, which is {_outline(body)}{hint}")

    def _cursor(self, body: bytes, path: str) -> str | None:
        match _value_at(body, path):
            case None | False | "":
                return None
            case str() | int() as value:
                return str(value)
            case _:
                pass
        raise SourceFailed(self._name, f"the cursor at {path!r} in the response is neither text nor an integer")

    def _count(self, body: bytes, path: str) -> int | None:
        match _value_at(body, path):
            case None:
                return None
            case int() as value:
                return value
            case str() as text if text.isascii() and text.isdecimal() and len(text) < _MAX_COUNT_DIGITS:
                return int(text)
            case _:
                pass
        raise SourceFailed(self._name, f"the total at {path!r} in the response is not an integer")


def _at(body: bytes, path: str) -> bytes | msgspec.Raw | None:
    """The value at a dotted path, undecoded; None if there is none."""
    found: bytes | msgspec.Raw = body
    for name in path.split(".") if path else ():
        try:
            found = members_of(found)[name]
        except (msgspec.ValidationError, KeyError):
            return None
    return found


def _value_at(body: bytes, path: str) -> object:
    raw = _at(body, path)
    return None if raw is None else msgspec.json.decode(raw)


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
