"""What the processes that share a port let each other know without asking: who answers, and what is wrong.

It stands in memory that all of them share, so that it can be read of a process that answers nothing any more.
"""

import mmap
import struct
import zlib

import anyio
import msgspec

from pagefold.engine.reading.check_results import CheckResult

BEAT_SECONDS = 0.25
"""How often a process says that it lives, and looks whether the others do."""

SILENT_BEATS = 8
"""Beats of its own in which a process hears nothing of another one, after which it asks that one for nothing: 2 s."""

REPORT_BYTES = 16 * 1024
"""What one process can say of itself; of more, nothing is said."""

_HEADER = struct.Struct("=?7x")
_SLOT = struct.Struct("=QII")
_SLOT_BYTES = _SLOT.size + REPORT_BYTES

_results = msgspec.json.Decoder(list[CheckResult])


class Board:
    """A slot for each process, by its number, from 1. To be made before there are processes."""

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self._memory = mmap.mmap(-1, _HEADER.size + processes * _SLOT_BYTES)

    def begin(self, number: int) -> None:
        """A new process has this number, which has said nothing yet."""
        _SLOT.pack_into(self._memory, self._slot(number), 0, 0, 0)

    def beat(self, number: int) -> None:
        """It lives."""
        beats, *report = _SLOT.unpack_from(self._memory, self._slot(number))
        _SLOT.pack_into(self._memory, self._slot(number), beats + 1, *report)

    def beats(self, number: int) -> int:
        """How often it has said so: 0 as long as it has not begun."""
        beats: int = _SLOT.unpack_from(self._memory, self._slot(number))[0]
        return beats

    def end(self) -> None:
        """From now on, each process ends what it has begun, and passes nothing on."""
        _HEADER.pack_into(self._memory, 0, True)  # noqa: FBT003  # it has no name there

    @property
    def is_ending(self) -> bool:
        """Whether the server is about to end."""
        ending: bool = _HEADER.unpack_from(self._memory, 0)[0]
        return ending

    def report(self, number: int, results: list[CheckResult]) -> None:
        """What this process finds of itself."""
        text = msgspec.json.encode(results)
        if len(text) > REPORT_BYTES:
            text = b"[]"
        start = self._slot(number)
        self._memory[start + _SLOT.size : start + _SLOT.size + len(text)] = text
        _SLOT.pack_into(self._memory, start, self.beats(number), len(text), zlib.crc32(text))

    def reported(self, number: int) -> list[CheckResult]:
        """What a process has found of itself last; nothing, where it is just being written, or never was."""
        start = self._slot(number)
        _, length, checksum = _SLOT.unpack_from(self._memory, start)
        text = self._memory[start + _SLOT.size : start + _SLOT.size + length]
        return _results.decode(text) if length and zlib.crc32(text) == checksum else []

    def _slot(self, number: int) -> int:
        return _HEADER.size + (number - 1) * _SLOT_BYTES


class PeerWatch:
    """Says that this process lives, and knows which of the others do.

    One that stands still says nothing while this one says `SILENT_BEATS` times that it lives. So a machine that stands
    still as a whole makes none of them silent.
    """

    def __init__(self, board: Board, number: int) -> None:
        self.board = board
        self.number = number
        self._heard = {each: (0, 0) for each in range(1, board.processes + 1) if each != number}

    async def run(self) -> None:
        """Goes on until it is cancelled."""
        while True:
            self.board.beat(self.number)
            self.look()
            await anyio.sleep(BEAT_SECONDS)

    def look(self) -> None:
        """Looks who of the others has said anything since the last time."""
        for number, (beats, missed) in self._heard.items():
            now = self.board.beats(number)
            self._heard[number] = (now, missed + 1 if now == beats else 0)

    def answers(self, number: int) -> bool:
        """Whether a process has begun, and is not silent; this one always does."""
        if number == self.number:
            return True
        return self.board.beats(number) > 0 and self._heard[number][1] < SILENT_BEATS

    def silent(self) -> list[int]:
        """Those that do not answer."""
        return [number for number in self._heard if not self.answers(number)]
