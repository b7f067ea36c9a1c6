"""Files of NDJSON in a folder: each appears complete, and a line is acknowledged only when it is on the disk.

Lines are appended to one hidden file, by whichever process has pages, and it gets its name when it is complete. So
lines in the order of the files' names have a page's versions in their order. What a crash left of a line is cut off:
it was not acknowledged.
"""

import calendar
import errno
import fcntl
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
import msgspec
import orjson
from anyio.abc import TaskGroup
from anyio.to_thread import run_sync

from pagefold.engine.configuration.target_config import FilesTargetConfig, TargetConfig
from pagefold.engine.delivery.faults import MAX_TEXT
from pagefold.engine.delivery.kinds.file_writing import compress, finish, opened, sync_folder, whole_lines, zstd_module
from pagefold.engine.delivery.kinds.json_lines import one_line
from pagefold.engine.delivery.target_kind import Answers, Item, Taken, TargetKind, Unavailable
from pagefold.engine.runtime.extras import needs_extra

PART, STATE = ".part", ".state"

LOOK_SECONDS = 1.0
"""How often it is checked whether the part file is old enough to be complete."""

LOCK_SECONDS = 0.01
"""The pause between tries to have the part file, while another process has it."""


class _State(msgspec.Struct):
    """What is known of the part file: which file it is, its size, its lines, and since when it has some.

    `since` is by the clock of the system. `newest` is the number of the newest complete file, in nanoseconds.
    """

    file: int = 0
    size: int = 0
    lines: int = 0
    since: float = 0.0
    newest: int = 0


_decoder = msgspec.json.Decoder(_State)


class FilesTarget(TargetKind):
    """A folder. Raises `ExtraMissing` where files are to be compressed, and nothing can."""

    def __init__(self, name: str, target: TargetConfig, config: FilesTargetConfig) -> None:
        self._name, self._config = name, config
        self._timeout = target.timeout_seconds
        self._folder = Path(config.folder)
        self._part_file = self._folder / f".{name}{PART}"
        self._named = re.compile(re.escape(name) + r"-(\d{8}T\d{6})-(\d{9})\.ndjson(\.zst)?")
        self._group: TaskGroup | None = None
        self.max_batch = target.batch
        if config.compressed:
            with needs_extra(f"the target {name}", "rebuild"):
                zstd_module()

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
        with anyio.CancelScope(shield=True), suppress(OSError):
            await run_sync(self._complete_old, 0.0)

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
            with suppress(OSError):  # the next delivery says it
                await run_sync(self._complete_old, self._config.seconds)

    def _write(self, lines: bytes) -> str:
        """Appends lines, and returns the number of the last one. Nothing of them is left if that fails."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._locked() as state_file:
            state = self._state_of(state_file)
            with opened(self._part_file) as file:
                self._continue(file, state)
                if not state.size:
                    sync_folder(self._folder)
                self._append(file, lines, state)
            if state.lines >= self._config.lines or time.time() - state.since >= self._config.seconds:
                with suppress(OSError):  # the lines are on the disk: the file is completed later
                    return self._complete(state_file, state)
            _write_state(state_file, state)
            return f"line {state.lines}"

    def _append(self, file: FileIO, lines: bytes, state: _State) -> None:
        rest = memoryview(lines)
        file.seek(state.size)
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(state.size)
            raise
        state.size += len(lines)
        state.lines += lines.count(b"\n")
        state.since = state.since or time.time()

    def _complete_old(self, seconds: float) -> None:
        """Completes the part file if it has had lines for so long."""
        if not self._part_file.exists():
            return
        with self._locked() as state_file:
            state = self._state_of(state_file)
            with opened(self._part_file) as file:
                self._continue(file, state)
                if state.lines and time.time() - state.since >= seconds:
                    self._complete(state_file, state)

    @contextmanager
    def _locked(self) -> Iterator[FileIO]:
        """The file of the state, while no other process has it. A process that stops with it is the target's fault."""
        until = time.monotonic() + self._timeout / 2
        with opened(self._folder / f".{self._name}{STATE}") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= until:
                        raise BlockingIOError(errno.EAGAIN, "another process has the folder") from None
                    time.sleep(LOCK_SECONDS)
            yield file

    def _state_of(self, file: FileIO) -> _State:
        """What the last process has noted, after what it left undone was done."""
        try:
            state = _decoder.decode(file.read())
        except msgspec.MsgspecError:
            state = _State()
        for each in self._folder.glob(f".{self._name}-*.ndjson"):
            if self._named.fullmatch(each.name[1:]):
                compress(each)
        return state

    def _continue(self, file: FileIO, state: _State) -> None:
        """Brings the state up to date with the file, which may have more lines after a crash, and a part of one."""
        found = os.fstat(file.fileno())
        if (found.st_ino, found.st_size) == (state.file, state.size):
            return
        if found.st_ino != state.file or found.st_size < state.size:
            state.file, state.size, state.lines, state.since = found.st_ino, 0, 0, 0.0
        lines, end = whole_lines(file, state.size)
        file.truncate(end)
        state.size, state.lines = end, state.lines + lines
        if state.lines and not state.since:
            state.since = min(found.st_mtime, time.time())

    def _complete(self, state_file: FileIO, state: _State) -> str:
        """Gives the part file its name, compressed if so configured, and deletes the oldest files beyond those kept."""
        complete = self._complete_files()
        newest = max([state.newest, *(_number(*parts) for parts in complete)])
        number = max(time.time_ns(), newest + 1)  # a clock that goes back does not change the order of files
        name = (
            f"{self._name}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime(number // 10**9))}-{number % 10**9:09d}.ndjson"
        )
        lines = state.lines
        _write_state(state_file, _State(newest=number))
        place = finish(self._part_file, self._folder / name, compressed=self._config.compressed)
        self._delete_oldest()
        return f"line {lines} of {place.name}"

    def _complete_files(self) -> dict[tuple[str, str], Path]:
        """The complete files, by the parts of their names: the oldest first."""
        found = {
            (named[1], named[2]): each
            for each in self._folder.iterdir()
            if (named := self._named.fullmatch(each.name)) is not None
        }
        return dict(sorted(found.items()))

    def _delete_oldest(self) -> None:
        if self._config.keep:
            for each in list(self._complete_files().values())[: -self._config.keep]:
                each.unlink(missing_ok=True)


def line_of(item: Item) -> bytes:
    """A line: which page, and its document, or null for a withdrawal."""
    head = orjson.dumps(
        {"sku": item.page.sku, "channel": item.page.channel, "tag": item.tag or None, "position": item.position}
    )
    page = b"null" if item.document is None else one_line(item.document)
    return head[:-1] + b',"page":' + page + b"}\n"


def _write_state(file: FileIO, state: _State) -> None:
    """Notes the state, if that can be: it only spares reading the part file, and is not synced."""
    file.seek(0)
    with suppress(OSError):
        file.write(msgspec.json.encode(state))
        file.truncate()


def _number(second: str, nanoseconds: str) -> int:
    """The number that a file's name was made of."""
    return calendar.timegm(time.strptime(second, "%Y%m%dT%H%M%S")) * 10**9 + int(nanoseconds)


def _text(error: OSError) -> str:
    return (error.strerror or str(error))[:MAX_TEXT]
