"""Writes what the records of sources have into the ledger of fields, and raises alerts of what changed.

Counts are collected in memory and written every few seconds and at the end: the last seconds before a crash are lost.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import anyio

from pagefold.engine.errors import StoreError
from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.field_observer import (
    MAX_EXAMPLE_CHARACTERS,
    MAX_PATH_CHARACTERS,
    FieldCounts,
    FieldObserver,
    storable,
)
from pagefold.engine.runtime.clock import now, seconds_ago
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.stores.field_ledger import RARE, Absence, Alert, FieldFilter, FieldLedger, Sighting, Sightings

FLUSH_SECONDS = 5.0

CLOSE_SECONDS = 5.0
"""How long the last counts may take to be written: they are not worth more."""

BASELINE_SECONDS = 3_600.0
"""What a contract's records have in their first hour, or in their first snapshot, is no news."""

UNUSUAL = 2
"""In a snapshot that may not be complete, a field has vanished only if one record in so many had it."""

ABSENCE_SECONDS = 60.0
"""How often it is looked up which fields of single records have vanished."""

MAX_LEDGER_FIELDS = 10_000
"""Fields of a contract in the ledger, after which no unmapped ones are added: names may be ever new, as ids are."""

log = Logger(__name__)


@dataclass(slots=True)
class _Watched:
    """A contract whose records are counted, since when, and when vanished fields were looked up."""

    source: str
    contract: Contract
    observer: FieldObserver
    since: str
    checked: float = 0.0
    is_loaded: bool = False

    @property
    def name(self) -> str:
        return self.contract.head.name


Signals: TypeAlias = Mapping[tuple[str, str, str], int]
"""How often a contract did not find a value: see `Contract.signals`."""


class FieldWatch:
    """Watches the records that contracts read in this process. Without `writes`, the ledger is only read."""

    def __init__(self, ledger: FieldLedger, *, writes: bool = True) -> None:
        self._ledger = ledger
        self._writes = writes
        self._watched: list[_Watched] = []
        self._flush: asyncio.Task[None] | None = None
        self._flushed = 0.0
        self._turn = anyio.Lock()

    def add(self, source: str, contract: Contract) -> None:
        """From now on, the records that the contract reads are counted."""
        contract.observer = FieldObserver(contract.fields, contract.family)
        self._watched.append(_Watched(source, contract, contract.observer, now()))

    async def begin_snapshot(self, source: str, contract: Contract) -> None:
        """Watches the records of a snapshot from now on. Raises `StoreUnavailable`."""
        self.add(source, contract)
        await self.prepare()

    async def prepare(self) -> None:
        """Loads which kinds of values fields had so far, where another kind is an error. Raises `StoreUnavailable`."""
        for each in self._watched:
            if not each.is_loaded and each.contract.levels.type == "fail":
                await self._load_kinds(each)
            each.is_loaded = True

    def note(self) -> None:
        """Has the counts written within a few seconds, in the background. For records that come one by one."""
        if self._flush is None and self._watched:
            self._flush = asyncio.create_task(self._flush_later())

    async def flush_if_due(self) -> None:
        """Writes the counts if they were not written for a few seconds. For records of a snapshot."""
        if anyio.current_time() >= self._flushed + FLUSH_SECONDS:
            await self._write()

    async def finish_snapshot(self, *, complete: bool) -> None:
        """Writes the counts of a snapshot that was read to its end. Fields that none of its records had have vanished.

        If it may not be complete, only those that most records had.
        """
        await self._write()
        for each in self._watched if self._writes else ():
            await self._mark_absent(each, each.since, RARE if complete else UNUSUAL)

    async def close(self) -> None:
        """Writes what is counted."""
        if self._flush is not None:
            self._flush.cancel()
            await asyncio.wait([self._flush])
        with anyio.move_on_after(CLOSE_SECONDS):
            await self._write(absent=True)

    async def _flush_later(self) -> None:
        try:
            await anyio.sleep(FLUSH_SECONDS)
        finally:
            self._flush = None
        await self._write(absent=True)

    async def _write(self, *, absent: bool = False) -> None:
        async with self._turn:
            self._flushed = anyio.current_time()
            for each in self._watched:
                counts, signals = each.observer.take(), each.contract.take_signals()
                if (counts.families or signals) and self._writes:
                    await self._add(each, counts, signals, absent=absent)

    async def _add(self, watched: _Watched, counts: FieldCounts, signals: Signals, *, absent: bool) -> None:
        levels, at = watched.contract.levels, now()
        try:
            known = await self._ledger.known_since(watched.source, watched.name)
            news = known is not None and known[0] < max(watched.since, seconds_ago(BASELINE_SECONDS))
            full = known is not None and known[1] >= MAX_LEDGER_FIELDS
            new: Alert | None = "new" if news and levels.attribute != "skip" else None
            fields = [
                Sighting(
                    *key,
                    each.records,
                    counts.families.get(key[0], 0),
                    each.types,
                    each.mapped,
                    each.example,
                    None if each.mapped else new,
                )
                for key, each in counts.fields.items()
                if each.mapped or not full
            ]
            fields += [] if full else _values(signals)
            families = list(({"": 0} | counts.families if signals else counts.families).items())
            alert_type = news and levels.type != "skip"
            await self._ledger.add(Sightings(watched.source, watched.name, at, families, fields, alert_type))
            if levels.type == "fail":
                await self._load_kinds(watched)
        except StoreError as error:
            log.warning("the ledger of fields misses some records", source=watched.source, error=str(error))
            return
        if absent and anyio.current_time() >= watched.checked + ABSENCE_SECONDS:
            watched.checked = anyio.current_time()
            await self._mark_absent(watched, None)

    async def _mark_absent(self, watched: _Watched, since: str | None, rare: int = RARE) -> None:
        unmapped = watched.contract.levels.attribute != "skip"
        try:
            await self._ledger.mark_absent(Absence(watched.source, watched.name, now(), since, unmapped, rare))
        except StoreError as error:
            log.warning("it is not known which fields have vanished", source=watched.source, error=str(error))

    async def _load_kinds(self, watched: _Watched) -> None:
        kinds: dict[str, int] = {}
        async for each in self._ledger.all_entries(FieldFilter(watched.source, watched.name)):
            kinds[each.field] = kinds.get(each.field, 0) | each.accepted_types
        watched.contract.known_kinds = kinds


def _values(signals: Signals) -> list[Sighting]:
    """Values that no table has, and names that are no locales, as entries of the ledger."""
    found: dict[str, Sighting] = {}
    for (_, place, value), number in signals.items():
        name = storable(f"{place} = {value}"[:MAX_PATH_CHARACTERS])
        found[name] = Sighting(
            "", name, number, 0, 0, mapped=False, example=storable(value[:MAX_EXAMPLE_CHARACTERS]), alert="value"
        )
    return list(found.values())
