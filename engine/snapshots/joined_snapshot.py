"""Snapshots whose contract joins records: everything is collected first, and stated once all of it was read."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from functools import partial
from hashlib import sha256

from anyio.abc import TaskGroup
from anyio.to_thread import run_sync

from pagefold.domains.domain import JSON
from pagefold.engine.errors import SourceFailed
from pagefold.engine.intake.contracts.record_groups import RecordGroups
from pagefold.engine.intake.contracts.record_join import RECORDS
from pagefold.engine.intake.contracts.statement_mapping import Record
from pagefold.engine.snapshots.contract_rows import JoinedRows
from pagefold.engine.snapshots.read_ahead import ReadAhead, SnapshotPass
from pagefold.engine.snapshots.row import Row
from pagefold.engine.snapshots.snapshot import BATCH_ROWS, MAY_HAVE_MOVED, NO_PROOF, Batch, End
from pagefold.projections.transforms import InvalidValue

MAX_BATCH_BYTES = 8 * 1024 * 1024
"""Bytes of the records that make a batch; its last group may exceed them."""


class JoinedSnapshot(ReadAhead):
    """A snapshot in one or several parts, by name. It can only be read from its start."""

    resumable = False

    def __init__(self, group: TaskGroup, parts: Mapping[str, ReadAhead], records: JoinedRows) -> None:
        super().__init__(group)
        first = parts[RECORDS]
        self._parts = parts
        self.name, self.unit = first.name, first.unit
        self.records = self._joined = records
        identities = "\n".join(part.identity for part in parts.values())
        self.identity = f"{first.name}:{sha256(identities.encode()).hexdigest()}"
        self.written_at = min((part.written_at for part in parts.values() if part.written_at is not None), default=None)

    def reading(self, cursor: JSON) -> SnapshotPass:
        """A pass over all parts. Raises `SourceFailed` for a cursor."""
        if cursor is not None:
            raise SourceFailed(self.name, "records that are joined are read from the start")
        return JoinedReading(self.name, self._parts, self._joined)


class JoinedReading(SnapshotPass):
    """A pass over the parts, and then over what their records became.

    Unless each part was read to its end, and every record in it could be read, nothing is stated: no group is known to
    be whole then.
    """

    def __init__(self, name: str, parts: Mapping[str, ReadAhead], records: JoinedRows) -> None:
        self._name = name
        self._parts = parts
        self._records = records
        self._rows = self._unreadable = 0
        self._misfits: list[Row] = []
        self._ends: list[End] = []
        self.coverage = records.coverage

    @property
    def rows(self) -> int:
        """The rows of all parts that were read."""
        return self._rows

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Batches without rows while the parts are read, except for what could not be; then those of the groups."""
        done = 0
        with RecordGroups(self._records.join) as groups:
            for part, snapshot in self._parts.items():
                async with aclosing(self._collected(part, snapshot, groups)) as batches:
                    async for batch in batches:
                        done = batch.done
                        yield batch
                if (fault := self._fault(part)) is not None:
                    self.end, self.by_size = End(complete=False, reason=fault), False
                    return
            self._check_names(groups)
            await run_sync(groups.join)
            self._records.reading.left_out += groups.left_out
            steps = self._steps(groups)
            while (rows := await run_sync(next, steps, None)) is not None:
                yield Batch(rows, None, done, None)
        self.end = min(self._ends, key=lambda end: end.complete)
        self.by_size = self.by_size and self.end.complete

    async def _collected(self, part: str, snapshot: ReadAhead, groups: RecordGroups) -> AsyncGenerator[Batch, None]:
        """Reads one part. Its batches have only what could not be read."""
        records = snapshot.records
        if not isinstance(records, JoinedRows):
            raise TypeError(part)  # all parts have the contract of the snapshot
        records.part, records.collect = part, partial(self._collect, groups)
        reading = snapshot.reading(None)
        async with aclosing(reading.batches()) as batches:
            async for batch in batches:
                yield self._batch(batch.rows, batch)
        if self._misfits:
            yield self._batch([], Batch([], None, reading.rows, None))
        repeated = await run_sync(lambda: groups.repeated(part, forget=_forgets(reading)))
        self._rows += reading.rows
        self._ends.append(_end_of(reading, repeated))
        self.taken_at = min(filter(None, (self.taken_at, reading.taken_at)), default=None)
        self.by_size = self.by_size or reading.by_size

    def _collect(self, groups: RecordGroups, part: str, row: int, record: Record) -> None:
        try:
            groups.add(part, row, record)
        except InvalidValue as error:
            self._misfits.append(Row(row, self._records.contract.rejected(error, None)))

    def _batch(self, refused: list[Row], batch: Batch) -> Batch:
        rows, self._misfits = [*refused, *self._misfits], []
        self._unreadable += len(rows)
        return Batch(rows, None, batch.done, batch.total)

    def _fault(self, part: str) -> str | None:
        """Why nothing may be stated of what was read so far; None if all of it may."""
        end = self._ends[-1]
        if self._unreadable:
            number = f"{self._unreadable:,} of its rows cannot" if self._unreadable > 1 else "a row cannot"
            reason = f"{number} be read, so that no group of records is known to be whole"
        elif end.complete or end.reason == NO_PROOF:
            return None
        elif end.reason == MAY_HAVE_MOVED:
            reason = "rows may have moved between its pages, so that no group of records is known to be whole"
        else:
            reason = end.reason
        return reason if part == RECORDS else f"{part}: {reason}"

    def _check_names(self, groups: RecordGroups) -> None:
        """Raises `SourceFailed` if no record has what records are joined by."""
        if names := groups.unnamed():
            raise SourceFailed(self._name, f"no record has a value for {' and '.join(names)} of the contract")

    def _steps(self, groups: RecordGroups) -> Iterator[list[Row]]:
        rows: list[Row] = []
        size = 0
        for group in groups:
            rows += self._records.rows_of(group)
            size += group.size
            if len(rows) >= BATCH_ROWS or size >= MAX_BATCH_BYTES:
                yield rows
                rows, size = [], 0
        if rows:
            yield rows


def _forgets(reading: SnapshotPass) -> bool:
    """Whether a record that comes twice counts once: pages may repeat one, and a marker may count it once."""
    return bool(reading.surplus) or (reading.surplus is None and not reading.end.complete)


def _end_of(reading: SnapshotPass, repeated: int) -> End:
    """How a part ended, with regard to the records in it that repeat an earlier one."""
    if reading.surplus is None or reading.surplus == repeated:
        return End(complete=True) if reading.surplus else reading.end
    if not repeated:
        return reading.end
    times = "repeats an earlier one" if repeated == 1 else "repeat an earlier one"
    reason = f"{repeated:,} of its rows {times}"
    return End(complete=False, reason=f"{reading.end.reason}; {reason}" if reading.end.reason else reason)
