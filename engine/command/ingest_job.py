"""The work of `pagefold ingest`: reads and decodes a batch of lines while the previous one is committed."""

import re
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import BinaryIO, NamedTuple, TypeAlias

import anyio
import msgspec
import orjson
from anyio.streams.memory import MemoryObjectSendStream
from anyio.to_thread import run_sync

from pagefold.engine.command.console import print_message, printable
from pagefold.engine.command.progress import Meter
from pagefold.engine.command.signals import StopSignal
from pagefold.engine.dead_letters.dead_letter_service import MAX_LISTED
from pagefold.engine.errors import PagefoldError, Rejected, SourceFailed
from pagefold.engine.events import AppendResult, DomainEvent, Outcome
from pagefold.engine.intake.input_files import InputFile
from pagefold.engine.intake.ndjson_reader import NdjsonLine, NdjsonReader
from pagefold.engine.runtime.clock import now
from pagefold.engine.shop import Shop
from pagefold.engine.stores.dead_letter_records import DeadLetterFilter
from pagefold.engine.stores.event_state import EventState
from pagefold.projections.epochs import version_of

MAX_SHOWN = 10
"""Refused lines that are shown; the others are counted."""

_state = msgspec.json.Decoder(EventState)


class Batch(NamedTuple):
    """Lines of one file, and the bytes of all files that were read so far."""

    source: str
    lines: list[NdjsonLine]
    position: int


Batches: TypeAlias = MemoryObjectSendStream[Batch]


class IngestJob:
    """Appends the lines of files. `counts` has their outcomes, `error` the reason for an early end."""

    def __init__(self, shop: Shop, refusals: "Refusals", meter: Meter, stop: StopSignal) -> None:
        self._shop = shop
        self._refusals = refusals
        self._meter = meter
        self._stop = stop
        self._position = 0
        self.counts: Counter[Outcome] = Counter()
        self.lines = 0
        self.error: PagefoldError | None = None

    async def run(self, names: Sequence[str]) -> None:
        """Appends everything, until the end, an error or a signal. A batch that is being committed is finished."""
        send, receive = anyio.create_memory_object_stream[Batch](0)
        async with anyio.create_task_group() as group, receive:
            group.start_soon(self._read, names, send)
            async for batch in receive:
                try:
                    await self._append(batch)
                except PagefoldError as error:
                    self.error = error
                    group.cancel_scope.cancel()
                    break

    async def _read(self, names: Sequence[str], send: Batches) -> None:
        with self._stop.scope:
            async with send:
                for name in names:
                    try:
                        with InputFile(name) as source:
                            await self._read_source(source, send)
                    except SourceFailed as error:
                        self.error = error
                        return
                    self._position += source.position

    async def _read_source(self, source: InputFile, send: Batches) -> None:
        reader = NdjsonReader(source.name)
        is_checked = False
        while True:
            data = await source.read()
            reader.feed(data)
            while lines := await self._batch(reader, source, send, last=not data):
                if not is_checked and (hint := format_hint(lines[0])) is not None:
                    raise SourceFailed(source.name, hint)
                is_checked = True
                await self._send(lines, source, send)
            if not data:
                return

    async def _batch(
        self, reader: NdjsonReader, source: InputFile, send: Batches, *, last: bool
    ) -> list[NdjsonLine] | None:
        """The next batch. It is full, except at the end or while the input is idle."""
        try:
            return await run_sync(partial(reader.batch, partial=last or source.idle))
        except SourceFailed as error:
            if rest := reader.rest():
                await self._send(rest, source, send)
            raise SourceFailed(source.name, f"{error.problem}; read up to line {reader.number:,}") from error

    async def _send(self, lines: list[NdjsonLine], source: InputFile, send: Batches) -> None:
        await send.send(Batch(source.name, lines, self._position + source.position))

    async def _append(self, batch: Batch) -> None:
        events = [line.event for line in batch.lines if isinstance(line.event, DomainEvent)]
        results = iter(await self._shop.append(events))
        for line in batch.lines:
            if isinstance(line.event, DomainEvent):
                result = next(results)
            else:
                result = AppendResult("rejected", path=line.event.path, reason=line.event.reason)
            self.counts[result.outcome] += 1
            if result.outcome in ("conflict", "rejected"):
                await self._refusals.add(batch.source, line, result)
        self.lines += len(batch.lines)
        self._refusals.flush()
        refused = self._refusals.count
        self._meter.update(batch.position, f"{self.lines:,} lines" + (f", {refused:,} refused" if refused else ""))


_csv_cell = rb'(?:"?[\w.-]+(?: [\w.-]+){0,3}"?|)'
_csv_header = re.compile(_csv_cell + rb"(?:[,;\t]" + _csv_cell + rb")+", re.ASCII)


def format_hint(first: NdjsonLine) -> str | None:
    """What to do with a file that is not NDJSON, by its first line; None if it may be NDJSON."""
    text = (first.text or b"").strip()
    if not isinstance(first.event, Rejected):
        return None
    if text.startswith(b"["):
        return "is a JSON array, and events are NDJSON, one a line: `jq -c '.[]' FILE | pagefold ingest -`"
    if text == b"{":
        return "is JSON of several lines, and events are NDJSON, one a line: `jq -c . FILE | pagefold ingest -`"
    if _csv_header.fullmatch(text) is not None:
        return (
            'looks like CSV, and events are NDJSON; write [sources.X.snapshot] with file = "…", and a contract that '
            "says what its columns mean, and run `pagefold rebuild --source X`"
        )
    return None


class Refusals:
    """Shows the first refused lines, and writes all of them to `file`, if there is one."""

    def __init__(self, shop: Shop, file: BinaryIO | None) -> None:
        self._shop = shop
        self._validator = shop.validator
        self._file = file
        self.count = 0

    async def add(self, source: str, line: NdjsonLine, result: AppendResult) -> None:
        """Counts a refused line, and shows or writes it."""
        self.count += 1
        if self._file is not None:
            self._file.write(_record(source, line, result))
        if self.count <= MAX_SHOWN:
            place = f"{source}:{line.number}: {result.path}: " if result.path else f"{source}:{line.number}: "
            print_message(printable(place + (result.reason or "") + await self._kept(line.event, result)))

    def flush(self) -> None:
        """Passes what was written to the operating system."""
        if self._file is not None:
            self._file.flush()

    async def _kept(self, event: object, result: AppendResult) -> str:
        """The dead letter of a conflict, if it is among the newest of its source."""
        if result.outcome != "conflict" or not isinstance(event, DomainEvent):
            return ""
        admission = self._validator.encode(event, now(), "0")
        stream = admission.originator_id
        dead_letters = self._shop.dead_letters
        page = await dead_letters.page(DeadLetterFilter("ingest", event.type, event.source), limit=MAX_LISTED)
        for listed in page.dead_letters:
            if (listed.originator_id, version_of(listed.originator_version)) == (stream, event.source_version):
                letter = await dead_letters.get(listed.id)
                if bytes(_state.decode(letter.state).payload) == admission.content:
                    return f"; kept as dead letter {letter.id}"
        return "; kept in dead letters"


def _record(source: str, line: NdjsonLine, result: AppendResult) -> bytes:
    record: dict[str, object] = {
        "file": source,
        "line": line.number,
        "path": result.path or "",
        "reason": result.reason or "",
        "outcome": result.outcome,
    }
    if line.text is not None:
        try:
            record["text"] = line.text.decode()
        except UnicodeDecodeError:
            record["base64"] = b64encode(line.text).decode()
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
