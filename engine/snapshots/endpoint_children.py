"""The children of an endpoint's rows: rows that other requests return, put into a member of the row."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import NamedTuple, Self

import anyio
import msgspec

from pagefold.domains.domain import DECODE_ERRORS
from pagefold.engine.configuration.endpoint_config import ChildConfig
from pagefold.engine.configuration.request_templates import fill
from pagefold.engine.errors import SourceFailed
from pagefold.engine.snapshots.endpoint_client import Endpoint, EndpointClient
from pagefold.engine.snapshots.json_paths import raw_at, value_at, with_raw
from pagefold.engine.snapshots.page_sequence import PageSequence, all_rows

CONCURRENT_ROWS = 64
"""Rows whose children are asked for at a time. The endpoint's own limits hold besides."""

MAX_FAILURES = 20
"""After so many rows in succession whose children cannot be read, reading stops: it is not the rows that are wrong."""


class _Child(NamedTuple):
    """A member of rows, and the requests that fill it."""

    member: str
    endpoint: Endpoint
    settings: ChildConfig
    client: EndpointClient


class Children:
    """Reads the children of rows, for the length of an `async with`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._name = endpoint.name
        self._children = [
            _Child(member, child, child.settings, EndpointClient(child))
            for member, child in endpoint.children.items()
            if isinstance(child.settings, ChildConfig)
        ]
        self._stack = AsyncExitStack()
        self._failures = 0

    async def __aenter__(self) -> Self:
        for child in self._children:
            await self._stack.enter_async_context(child.client)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def join(self, rows: list[msgspec.Raw]) -> tuple[list[msgspec.Raw], Mapping[int, str]]:
        """The rows with their children, and by the index of each whose children could not be read, why.

        Raises `SourceFailed` if that happens to many rows in succession.
        """
        if not self._children:
            return rows, {}
        joined, failed = list(rows), dict[int, str]()
        for start in range(0, len(rows), CONCURRENT_ROWS):
            indexes = range(start, min(start + CONCURRENT_ROWS, len(rows)))
            async with anyio.create_task_group() as group:
                for index in indexes:
                    group.start_soon(self._join_row, joined, index, failed)
            self._check(indexes, failed)
        return joined, failed

    async def _join_row(self, rows: list[msgspec.Raw], index: int, failed: dict[int, str]) -> None:
        """Replaces a row by one with its children, or notes why it has none."""
        row = rows[index]
        for child in self._children:
            try:
                if _has_children(row, child.settings):
                    rows[index] = with_raw(rows[index], child.member, await self._read(child, row))
            except SourceFailed as error:
                failed[index] = f"{child.member}: {error}"
            except (*DECODE_ERRORS, ValueError) as error:
                failed[index] = f"{child.member}: {error}"

    async def _read(self, child: _Child, row: msgspec.Raw) -> bytes:
        """All children of a row, as a JSON array. Raises `SourceFailed`, and `ValueError` for a row without a value."""
        endpoint = child.endpoint._replace(settings=fill(child.settings, lambda path: value_at(row, path)))
        rows = await all_rows(PageSequence(endpoint, child.client), endpoint.name, "what belongs to a row")
        return b"[%s]" % b",".join(map(bytes, rows))

    def _check(self, indexes: Sequence[int], failed: Mapping[int, str]) -> None:
        """Raises `SourceFailed` if too many rows in succession failed."""
        for index in indexes:
            self._failures = self._failures + 1 if index in failed else 0
            if self._failures >= MAX_FAILURES:
                problem = f"what belongs to {MAX_FAILURES} rows in succession could not be read: {failed[index]}"
                raise SourceFailed(self._name, problem)


def _has_children(row: msgspec.Raw, settings: ChildConfig) -> bool:
    """Whether a row has one of the accepted values at every path."""
    for path, accepted in settings.values_of.items():
        raw = raw_at(row, path)
        if raw is None or not any(_equal(msgspec.json.decode(raw), value) for value in accepted):
            return False
    return True


def _equal(value: object, accepted: object) -> bool:
    """Whether two values are equal; a boolean is no number."""
    return value == accepted and isinstance(value, bool) == isinstance(accepted, bool)
