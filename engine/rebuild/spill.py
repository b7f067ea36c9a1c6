"""Keeps many items in a temporary file, which is lost with the process."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

import apsw
import msgspec

from pagefold.engine.errors import SpillFailed
from pagefold.engine.runtime.spill_file import open_spill_file

BATCH_ITEMS = 5_000
BATCH_BYTES = 8 * 1024 * 1024
"""Maximum bytes of a batch; its last item may exceed it."""

_TABLE = """
CREATE TABLE spilled (item BLOB)
"""
_encoder = msgspec.msgpack.Encoder()

Item = TypeVar("Item")


class Spill(Generic[Item]):
    """Items of a kind that msgspec knows, in their order. The file is made for the first one."""

    def __init__(self, kind: type[Item]) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._connection: apsw.Connection | None = None

    def __bool__(self) -> bool:
        """Whether there are any items."""
        return self._connection is not None

    def add(self, items: Sequence[Item]) -> None:
        """Stores items. Raises `SpillFailed`."""
        if not items:
            return
        try:
            if self._connection is None:
                self._connection = open_spill_file(_TABLE)
            with self._connection as connection:
                connection.executemany("INSERT INTO spilled VALUES (?)", ((_encoder.encode(each),) for each in items))
        except apsw.Error as error:
            raise SpillFailed(error) from error

    def batches(self) -> Iterator[list[Item]]:
        """All items, in their original order."""
        if self._connection is None:
            return
        batch: list[Item] = []
        size = 0
        for (packed,) in self._connection.execute("SELECT item FROM spilled ORDER BY rowid"):
            batch.append(self._decoder.decode(packed))
            size += len(packed)
            if len(batch) == BATCH_ITEMS or size >= BATCH_BYTES:
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
