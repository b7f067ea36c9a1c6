"""Exports that an endpoint prepares: started by a request, watched until they are done, downloaded, read by line."""

from collections.abc import AsyncGenerator
from tempfile import TemporaryFile
from typing import BinaryIO, NamedTuple

import anyio
import httpx2
import msgspec
from anyio.to_thread import run_sync

from pagefold.domains.domain import DECODE_ERRORS
from pagefold.engine.configuration.endpoint_config import EndpointConfig
from pagefold.engine.configuration.export_config import ExportConfig
from pagefold.engine.configuration.request_templates import fill
from pagefold.engine.errors import SourceFailed
from pagefold.engine.snapshots.endpoint_client import MAX_RESPONSE_BYTES, Endpoint, EndpointClient, PageRequest
from pagefold.engine.snapshots.json_paths import value_at
from pagefold.engine.snapshots.page_requests import PageRequests
from pagefold.engine.snapshots.page_sequence import Page, PageSequence
from pagefold.engine.snapshots.snapshot import BATCH_ROWS, End

BATCH_BYTES = 16 * 1024 * 1024
"""Bytes of lines after which a page of an export ends."""


class _Finished(NamedTuple):
    """An export that can be downloaded: its address, None if it has no lines, and the number of its lines, if known."""

    address: str | None
    lines: int | None
    is_partial: bool


class ExportPages(PageSequence):
    """The lines of an export, as pages. It is downloaded to a temporary file before the first."""

    def __init__(self, endpoint: Endpoint, settings: EndpointConfig, export: ExportConfig) -> None:
        super().__init__(endpoint)
        self._name = endpoint.name
        self._start = PageRequests(settings, endpoint.credentials.members)
        self._endpoint_settings = settings
        self._export = export

    async def pages(self) -> AsyncGenerator[Page, None]:
        """Every page. Raises `SourceFailed`, also if the export fails or takes too long."""
        async with self._client as client:
            finished = await self._finished(client)
            self.total = self.first_total = finished.lines
            with TemporaryFile() as file:
                if finished.address is not None:
                    await self._download(client, finished.address, file)
                while rows := await run_sync(_lines, file, self._name):
                    self.rows += len(rows)
                    yield Page(None, rows, None)
        self.is_last = True
        self.end = self._end_of(finished)

    def _end_of(self, finished: _Finished) -> End:
        if finished.is_partial:
            return End(complete=False, reason="the export failed; only a part of it could be read")
        if finished.lines is not None and finished.lines != self.rows:
            return End(complete=False, reason=f"the export has {finished.lines:,} rows; its file has {self.rows:,}")
        return End(complete=True)

    async def _finished(self, client: EndpointClient) -> _Finished:
        """Starts the export, and waits until it is done."""
        started = await client.send(self._start.request(None, client.address))
        export = self._export
        asked = self._endpoint_settings
        asked = msgspec.structs.replace(asked, url=export.url or asked.url, body=export.body, method=None)
        try:
            filled = fill(asked, lambda path: value_at(started.body, path))
        except ValueError as error:
            raise SourceFailed(self._name, f"the export was not started: {error}") from error
        request = PageRequests(filled, {}).request(None, client.address)
        client.address(str(request.url), request.url)
        with anyio.move_on_after(export.within_seconds):
            while True:
                if (finished := await self._status(client, request)) is not None:
                    return finished
                await anyio.sleep(export.every_seconds)
        raise SourceFailed(self._name, f"the export was not done within {export.within}")

    async def _status(self, client: EndpointClient, request: PageRequest) -> _Finished | None:
        """The export, if it has ended. Raises `SourceFailed` if it has failed, and nothing can be downloaded."""
        body, export = (await client.send(request)).body, self._export
        try:
            status = value_at(body, export.status)
            address = self._address(body, export.address)
            partial = None if export.partial is None else self._address(body, export.partial)
            count = None if export.count is None else self._count_at(body, export.count)
        except DECODE_ERRORS as error:
            raise SourceFailed(self._name, f"the response is not JSON: {error}") from error
        if status in export.done:
            if address is None and count != 0:
                raise SourceFailed(self._name, f"the export is done, but has no address at {export.address!r}")
            return _Finished(address, count, is_partial=False)
        if status not in export.failed:
            return None
        if partial is None:
            raise SourceFailed(self._name, f"the export has failed: its status is {status!r:.60}")
        return _Finished(partial, None, is_partial=True)

    def _address(self, body: bytes, path: str) -> str | None:
        match value_at(body, path):
            case str() as text if text:
                return text
            case _:
                return None

    def _count_at(self, body: bytes, path: str) -> int | None:
        match value_at(body, path):
            case int() as value:
                return value
            case str() as text if text.isascii() and text.isdecimal():
                return int(text)
            case _:
                return None

    async def _download(self, client: EndpointClient, address: str, file: BinaryIO) -> None:
        url = client.address(address, httpx2.URL(self._endpoint_settings.url or ""))
        await client.download(PageRequest(url), file)
        file.seek(0)


def _lines(file: BinaryIO, name: str) -> list[msgspec.Raw]:
    """The next lines that have anything in them. Raises `SourceFailed` for one that is too long."""
    found: list[msgspec.Raw] = []
    size = 0
    while len(found) < BATCH_ROWS and size < BATCH_BYTES and (line := file.readline(MAX_RESPONSE_BYTES + 1)):
        if len(line) > MAX_RESPONSE_BYTES:
            problem = f"a line of the export has more than {MAX_RESPONSE_BYTES // 1024 // 1024} MiB"
            raise SourceFailed(name, problem)
        size += len(line)
        if line.strip():
            found.append(msgspec.Raw(line.strip()))
    return found
