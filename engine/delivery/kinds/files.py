"""Files of NDJSON in a folder: each appears complete, and a line is acknowledged only when it is on the disk.

Lines are appended to one part file, by whichever process has pages, and it gets its name when it is complete. So files
in the order of their names have a page's versions in their order. What a crash left of a line is cut off: it was not
acknowledged.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

import anyio
import orjson
from anyio.abc import TaskGroup
from anyio.to_thread import run_sync

from pagefold.engine.configuration.target_config import FilesTargetConfig
from pagefold.engine.delivery.faults import MAX_TEXT
from pagefold.engine.delivery.target_kind import Answers, Item, Taken, TargetKind, Unavailable

PART, LOCK = ".part", ".lock"
READ_BYTES = 1024 * 1024

LOOK_SECONDS = 1.0
"""How often it is seen whether the part file is old enough to be complete."""


class _Part(NamedTuple):
    """The part file as it was left: its size, its lines, and since when it has some, by the clock of the system."""

    size: int
    lines: int
    since: float


class FilesTarget(TargetKind):
    """A folder."""

    def __init__(self, name: str, config: FilesTargetConfig, batch: int) -> None:
        self._name, self._config = name, config
        self._folder = Path(config.folder)
        self._part: _Part | None = None
        self._group: TaskGroup | None = None
        self.max_batch = batch

    async def __aenter__(self) -> Self:
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._complete_in_time)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._group is not None:
            self._group.cancel_scope.cancel()
            await self._group.__aexit__(None, None, None)

    async def deliver(self, items: Sequence[Item]) -> Answers:
        """As the contract says: the lines are written and synced, then a full file is completed."""
        try:
            answer = Taken(await run_sync(self._write, b"".join(map(line_of, items))))
        except OSError as error:
            return Answers([Unavailable(_text(error), received=False)] * len(items))
        return Answers([answer] * len(items))

    async def _complete_in_time(self) -> None:
        while True:
            await anyio.sleep(LOOK_SECONDS)
            try:
                await run_sync(self._complete_old)
            except OSError:  # the next delivery says it
                continue

    def _write(self, lines: bytes) -> str:
        """Appends lines, and returns the number of the last one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._locked() as file:
            part = self._continued(file)
            file.seek(part.size)
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
            part = _Part(part.size + len(lines), part.lines + lines.count(b"\n"), part.since or time.time())
            self._part = part
            if part.lines >= self._config.lines or self._is_old(part):
                return self._complete(part)
            return f"line {part.lines}"

    def _complete_old(self) -> None:
        if not self._part_file.exists():
            return
        with self._locked() as file:
            part = self._continued(file)
            if part.lines and self._is_old(part):
                self._complete(part)

    def _is_old(self, part: _Part) -> bool:
        return time.time() - part.since >= self._config.seconds

    @property
    def _part_file(self) -> Path:
        return self._folder / f".{self._name}{PART}"

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """The part file, while no other process has it. The lock is a file of its own: the part file is renamed."""
        with (self._folder / f".{self._name}{LOCK}").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with self._part_file.open("r+b", opener=_creating) as file:
                yield file

    def _continued(self, file: BinaryIO) -> _Part:
        """The part file as it is: what this process knows of it, unless another one has written, or a crash cut it."""
        size = file.seek(0, os.SEEK_END)
        if self._part is not None and size == self._part.size:
            return self._part
        if not size:
            return _Part(0, 0, 0.0)
        lines, end = _whole_lines(file)
        file.truncate(end)
        return _Part(end, lines, os.fstat(file.fileno()).st_mtime if lines else 0.0)

    def _complete(self, part: _Part) -> str:
        """Gives the part file its name, compressed if so configured, and deletes the oldest files beyond those kept."""
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        name = f"{self._name}-{stamp}-{time.time_ns() % 1_000_000_000:09d}.ndjson"
        place = self._folder / name
        if self._config.compressed:
            place = place.with_name(name + ".zst")
            _compress(self._part_file, self._folder / f".{name}.tmp", place)
            self._part_file.unlink()
        else:
            self._part_file.rename(place)
        _sync_folder(self._folder)
        self._part = None
        self._delete_oldest()
        return f"line {part.lines} of {place.name}"

    def _delete_oldest(self) -> None:
        if self._config.keep:
            files = sorted(self._folder.glob(f"{self._name}-*.ndjson*"))
            for each in files[: -self._config.keep]:
                each.unlink(missing_ok=True)


def line_of(item: Item) -> bytes:
    """A line: which page, and its document, or null for a withdrawal."""
    head = orjson.dumps(
        {"sku": item.page.sku, "channel": item.page.channel, "tag": item.tag or None, "position": item.position}
    )
    return head[:-1] + b',"page":' + (item.document or b"null") + b"}\n"


def _creating(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o644)


def _whole_lines(file: BinaryIO) -> tuple[int, int]:
    """The number of complete lines, and where they end."""
    file.seek(0)
    lines = end = at = 0
    while piece := file.read(READ_BYTES):
        if (last := piece.rfind(b"\n")) >= 0:
            lines += piece.count(b"\n")
            end = at + last + 1
        at += len(piece)
    return lines, end


def _compress(source: Path, unfinished: Path, place: Path) -> None:
    zstd = zstd_module()
    with source.open("rb") as file, zstd.open(unfinished, "wb") as packed:
        while piece := file.read(READ_BYTES):
            packed.write(piece)
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.rename(place)


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _text(error: OSError) -> str:
    return (error.strerror or str(error))[:MAX_TEXT]
