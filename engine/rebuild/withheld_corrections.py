"""Keeps corrections back, in bounded memory, until it is known how much they would remove in total."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

import apsw
import msgspec

from pagefold.engine.errors import SpillFailed
from pagefold.engine.rebuild.epoch_placement import PLAIN, Placement
from pagefold.engine.rebuild.row_comparer import PendingRepair

BATCH_ROWS = 5_000
BATCH_BYTES = 8 * 1024 * 1024
"""Maximum bytes of a batch; its last correction may exceed it."""

_SETUP = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -4096;
CREATE TABLE withheld (correction BLOB)
"""
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(PendingRepair)


class Withheld:
    """Corrections in a temporary file that is lost with the process: a resumed run must find them again."""

    def __init__(self) -> None:
        self._connection: apsw.Connection | None = None
        self.placement = PLAIN
        """The epochs known when the first correction was made: others may have been raised since."""

    def add(self, corrections: Sequence[PendingRepair], placement: Placement = PLAIN) -> None:
        """Stores corrections. Raises `SpillFailed`."""
        if not corrections:
            return
        if self._connection is None:
            self.placement = placement
        try:
            if self._connection is None:
                self._connection = apsw.Connection("")
                list(self._connection.execute(_SETUP))
            with self._connection as connection:
                connection.executemany("INSERT INTO withheld VALUES (?)", ((_encoder.encode(c),) for c in corrections))
        except apsw.Error as error:
            raise SpillFailed(error) from error

    def batches(self) -> Iterator[list[PendingRepair]]:
        """All corrections, in their original order."""
        if self._connection is None:
            return
        batch: list[PendingRepair] = []
        size = 0
        for (packed,) in self._connection.execute("SELECT correction FROM withheld ORDER BY rowid"):
            batch.append(_decoder.decode(packed))
            size += len(packed)
            if len(batch) == BATCH_ROWS or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def clear(self) -> None:
        """Deletes the file."""
        if self._connection is not None:
            with suppress(apsw.Error):
                self._connection.close()
            self._connection = None
