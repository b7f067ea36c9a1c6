"""Shared memory through which the processes of a port see each other: heartbeats, and their failed checks.

A process can be read here even when it answers nothing.
"""

import mmap
import struct
import zlib

import anyio
import msgspec

from pagefold.engine.reading.check_results import CheckResult

BEAT_SECONDS = 0.25
"""The interval of heartbeats, and of checking those of others."""

SILENT_BEATS = 8
"""A process that has not beaten during this many of our own beats is considered silent: after 2 s."""

REPORT_BYTES = 16 * 1024
"""Bytes that one process can report; a longer report is left out."""

_HEADER = struct.Struct("=?7x")
_SLOT = struct.Struct("=QII")
_SLOT_BYTES = _SLOT.size + REPORT_BYTES

_results = msgspec.json.Decoder(list[CheckResult])


class ProcessBoard:
    """A slot for each process, by number, from 1. Create it before forking."""

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self._memory = mmap.mmap(-1, _HEADER.size + processes * _SLOT_BYTES)

    def begin(self, number: int) -> None:
        """Resets the slot for a new process with this number."""
        _SLOT.pack_into(self._memory, self._slot(number), 0, 0, 0)

    def beat(self, number: int) -> None:
        """Counts a heartbeat."""
        beats, *report = _SLOT.unpack_from(self._memory, self._slot(number))
        _SLOT.pack_into(self._memory, self._slot(number), beats + 1, *report)

    def beats(self, number: int) -> int:
        """The number of heartbeats; 0 before the process has started."""
        beats: int = _SLOT.unpack_from(self._memory, self._slot(number))[0]
        return beats

    def end(self) -> None:
        """Announces the end: from now on, processes finish their requests and pass none on."""
        _HEADER.pack_into(self._memory, 0, True)  # noqa: FBT003  # it has no name there

    @property
    def is_ending(self) -> bool:
        """Whether the server is ending."""
        ending: bool = _HEADER.unpack_from(self._memory, 0)[0]
        return ending

    def report(self, number: int, results: list[CheckResult]) -> None:
        """Publishes the results of this process's checks."""
        text = msgspec.json.encode(results)
        if len(text) > REPORT_BYTES:
            text = b"[]"
        start = self._slot(number)
        self._memory[start + _SLOT.size : start + _SLOT.size + len(text)] = text
        _SLOT.pack_into(self._memory, start, self.beats(number), len(text), zlib.crc32(text))

    def reported(self, number: int) -> list[CheckResult]:
        """The last results of a process; empty if they are being written or never were."""
        start = self._slot(number)
        _, length, checksum = _SLOT.unpack_from(self._memory, start)
        text = self._memory[start + _SLOT.size : start + _SLOT.size + length]
        return _results.decode(text) if length and zlib.crc32(text) == checksum else []

    def _slot(self, number: int) -> int:
        return _HEADER.size + (number - 1) * _SLOT_BYTES


class PeerWatch:
    """Sends this process's heartbeat, and tracks those of the others.

    Silence is measured in our own beats, so a pause of the whole machine makes no process silent.
    """

    def __init__(self, board: ProcessBoard, number: int) -> None:
        self.board = board
        self.number = number
        self._missed_beats = {each: (0, 0) for each in range(1, board.processes + 1) if each != number}

    async def run(self) -> None:
        """Runs until it is cancelled."""
        while True:
            self.board.beat(self.number)
            self.look()
            await anyio.sleep(BEAT_SECONDS)

    def look(self) -> None:
        """Reads the heartbeats of the others."""
        for number, (beats, missed) in self._missed_beats.items():
            now = self.board.beats(number)
            self._missed_beats[number] = (now, missed + 1 if now == beats else 0)

    def answers(self, number: int) -> bool:
        """Whether a process has started and is not silent; this one always answers."""
        if number == self.number:
            return True
        return self.board.beats(number) > 0 and self._missed_beats[number][1] < SILENT_BEATS

    def silent(self) -> list[int]:
        """The processes that do not answer."""
        return [number for number in self._missed_beats if not self.answers(number)]
