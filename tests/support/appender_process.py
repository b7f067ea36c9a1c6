"""An appender process: `python -m tests.support.appender_process CONFIG LINES ACKNOWLEDGED` appends a file's lines.

The result of each line is in ACKNOWLEDGED, on disk, before it sends the next. It begins with line `--start`, once
the file `--gate` is there. Lines of one SKU stay in their order; the SKUs are dealt out to `--tasks` tasks that append
at the same time, `--batch` lines at once, with `--pause` seconds between. A batch whose fate is unknown after
`--patience` seconds is sent again, until the store is back.
"""

import argparse
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias
from zlib import crc32

import anyio
import orjson
import structlog

import pagefold
import pagefold.engine.intake.appender
from pagefold import AppendResult, DomainEvent, Rejected, Shop, StoreUnavailable
from tests.support.processes import die_with_parent, eventually
from tests.support.worker_process import log_json

Numbered: TypeAlias = tuple[int, bytes]

SECONDS_TO_OPEN = 30.0

log = structlog.get_logger(__name__)


async def main(options: argparse.Namespace) -> None:
    """Appends everything once."""
    lines = list(enumerate(options.lines.read_bytes().splitlines()))[options.start :]
    hands: list[list[Numbered]] = [[] for _ in range(options.tasks)]
    for number, line in lines:
        hands[crc32(_sku(line)) % options.tasks].append((number, line))
    file = os.open(options.acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    async with _opened(options.config) as shop, anyio.create_task_group() as group:
        log.info("appending", lines=len(lines))
        if options.gate is not None:
            await eventually(options.gate.exists, "an open gate", SECONDS_TO_OPEN)
        for hand in hands:
            batches = [hand[start : start + options.batch] for start in range(0, len(hand), options.batch)]
            group.start_soon(_append_all, shop, batches, file, options.pause)
    log.info("appended everything")


@asynccontextmanager
async def _opened(config: Path) -> AsyncIterator[Shop]:
    """The shop, once its store exists."""
    deadline = anyio.current_time() + SECONDS_TO_OPEN
    while True:
        try:
            manager = pagefold.open(config)
            shop = await manager.__aenter__()
            break
        except StoreUnavailable as error:
            log.warning("no store yet", error=str(error))
            if anyio.current_time() > deadline:
                raise
            await anyio.sleep(0.1)
    try:
        yield shop
    finally:
        await manager.__aexit__(None, None, None)


async def _append_all(shop: Shop, batches: Sequence[list[Numbered]], file: int, pause: float) -> None:
    for batch in batches:
        results = await _append(shop, [line for _, line in batch])
        rows = [
            orjson.dumps([number, result.outcome, result.position])
            for (number, _), result in zip(batch, results, strict=True)
        ]
        os.write(file, b"".join(row + b"\n" for row in rows))
        os.fsync(file)
        await anyio.sleep(pause)


async def _append(shop: Shop, lines: Sequence[bytes]) -> list[AppendResult]:
    read = [_read(line) for line in lines]
    events = [each for each in read if isinstance(each, DomainEvent)]
    while True:
        try:
            results = iter(await shop.append(events))
        except StoreUnavailable as error:
            log.warning("sending again", error=str(error))
            await anyio.sleep(0.05)
        else:
            return [each if isinstance(each, AppendResult) else next(results) for each in read]


def _read(line: bytes) -> DomainEvent | AppendResult:
    try:
        return pagefold.parse_event(line)
    except Rejected as refused:
        return AppendResult("rejected", path=refused.path, reason=refused.reason)


def _sku(line: bytes) -> bytes:
    """The value of "sku", however it is escaped; lines without one may go to any task."""
    try:
        return str(orjson.loads(line)["sku"]).encode()
    except (ValueError, KeyError, TypeError):
        return b""


if __name__ == "__main__":
    die_with_parent()
    log_json()
    parser = argparse.ArgumentParser(prog="tests.support.appender_process")
    parser.add_argument("config", type=Path)
    parser.add_argument("lines", type=Path)
    parser.add_argument("acknowledged", type=Path)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--gate", type=Path)
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--batch", type=int, default=25)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--patience", type=float, default=20.0)
    arguments = parser.parse_args()
    pagefold.engine.intake.appender.RETRY_SECONDS = arguments.patience
    anyio.run(main, arguments)
