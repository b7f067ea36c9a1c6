"""The pages of an endpoint: where the rows are in them, and how the next page is found."""

import re
from typing import NamedTuple

import httpx2
import msgspec

from pagefold.domains.domain import DECODE_ERRORS
from pagefold.engine.configuration.snapshot_config import SnapshotConfig
from pagefold.engine.errors import SourceFailed
from pagefold.engine.snapshots.endpoint_client import EndpointClient, EndpointResponse
from pagefold.engine.snapshots.json_rows import members_of

_LONGEST_COUNT = 16
"""Digits."""

_array = msgspec.json.Decoder(list[msgspec.Raw])
_half = re.compile(rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|u([dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL)
_covered = re.compile(rb"\\(?:u([eE][0-7][0-9a-fA-F]{2})|.)", re.DOTALL)
_SURROGATES, _COVERS = 0xD800, 0xE000
"""Where surrogates begin, and the characters for private use that stand in for them."""


class RowsResponse(NamedTuple):
    """What was in the body of a page."""

    rows: list[msgspec.Raw]
    next: str | None
    total: int | None


class ResponseParser:
    """Finds the rows, the next page and the total in an answer. Raises `SourceFailed` where it cannot."""

    def __init__(self, name: str, settings: SnapshotConfig) -> None:
        self._name = name
        self._settings = settings

    def address(self, endpoint: EndpointClient, page: str | None) -> httpx2.URL:
        """Where a page is."""
        first = httpx2.URL(self._settings.url or "")
        if page is None:
            return first
        if self._settings.cursor_parameter is not None:
            return first.copy_set_param(self._settings.cursor_parameter, page)
        return endpoint.address(page, first)

    @property
    def may_shift(self) -> bool:
        """Whether a change of what is listed may move rows from one page to another."""
        return not self._settings.stable

    def following(self, endpoint: EndpointClient, page: str | None, url: httpx2.URL) -> str | None:
        """The next page as it can be named anywhere, not only beside this one."""
        if page is None or self._settings.cursor_parameter is not None:
            return page
        return str(endpoint.address(page, url))

    def read(self, answer: EndpointResponse) -> RowsResponse:
        """What is in an answer."""
        try:
            return self._read(answer)
        except DECODE_ERRORS as error:
            if (covered := _cover(answer.body)) == answer.body:
                raise SourceFailed(self._name, f"the answer is not JSON: {error}") from error
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
            place = f"at {path!r} in the answer" if path else "as the answer"
            hint = "" if path else "; items names the path of the rows in it"
        raise SourceFailed(self._name, f"expected an array {place}, which is {_outline(body)}{hint}")

    def _cursor(self, body: bytes, path: str) -> str | None:
        match _value_at(body, path):
            case None | False | "":
                return None
            case str() | int() as value:
                return str(value)
            case _:
                pass
        raise SourceFailed(self._name, f"the cursor at {path!r} in the answer is neither text nor a whole number")

    def _count(self, body: bytes, path: str) -> int | None:
        match _value_at(body, path):
            case None:
                return None
            case int() as value:
                return value
            case str() as text if text.isascii() and text.isdecimal() and len(text) < _LONGEST_COUNT:
                return int(text)
            case _:
                pass
        raise SourceFailed(self._name, f"the total at {path!r} in the answer is no whole number")


def _at(body: bytes, path: str) -> bytes | msgspec.Raw | None:
    """What stands at a dotted path, undecoded; None when nothing does."""
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
    """What an answer looks like, to help with the configuration."""
    try:
        names = list(members_of(body))
    except msgspec.ValidationError:
        return "no object"
    return f"an object with {', '.join(names[:10])}" if names else "an empty object"


def _cover(body: bytes) -> bytes:
    """The body with other characters in place of halves of surrogate pairs, for a decoder that cannot see past them.

    One row that was cut in the middle of a character is no reason to read none: it will be refused alone.
    """
    return _half.sub(lambda match: _shifted(match, _COVERS - _SURROGATES), body)


def _uncover(row: msgspec.Raw) -> msgspec.Raw:
    return msgspec.Raw(_covered.sub(lambda match: _shifted(match, _SURROGATES - _COVERS), bytes(row)))


def _shifted(match: re.Match[bytes], distance: int) -> bytes:
    return match[0] if match[1] is None else b"\\u%04x" % (int(match[1], 16) + distance)
