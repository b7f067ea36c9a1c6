"""Every page again, from the log: after a change of the configuration or the code, or to see whether any has drifted.

Nothing stands still for it. It reads the newest events of some thousand SKUs, folds them, and looks whether just that
stands there; for this it takes no lock. Where it does not, it reads and folds again in the domain's transaction, for as
long as a consumer's batch takes, and sees what has drifted: the consumer may only have been faster. Readers see whole
sections, and never an older one.
"""

import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from random import SystemRandom
from typing import Literal, NamedTuple, TypeAlias

import anyio
import msgspec

from domains import AnyDomain
from domains.domain import JSON
from engine.config import Config
from engine.folding import Folder, Sections
from engine.history import FieldChange, changes_between, flatten
from engine.stores.letters import Wanted
from engine.stores.store import Folding, Log, Store, StoredEvent
from engine.tasks import beside, together
from projections import Section
from projections.streams import decode_part, encode_part

STREAMS = 6_000
"""How many streams are looked at in a step."""

HOLD_SECONDS = 0.15
"""A transaction ends after the step in which it grew so old: consumers wait no longer."""

SAMPLED_SKUS = 500
"""So many SKUs of a sample are compared in a step."""

_dice = SystemRandom()
_SURROGATES = range(0xD800, 0xE000)

SectionDriftKind: TypeAlias = Literal["differs", "lost", "surplus"]


class SectionDrift(msgspec.Struct, frozen=True):
    """A section that is not what the log says: it differs, has no row, or has one that nothing in the log accounts for.

    `changes` are from what stood there to what must be.
    """

    sku: str
    channel: str
    domain: str
    kind: SectionDriftKind
    changes: list[FieldChange]


_Stood: TypeAlias = Mapping[tuple[str, str], Section]
Tell: TypeAlias = Callable[[SectionDrift], None]
Advance: TypeAlias = Callable[[int], None]
Begin: TypeAlias = Callable[[], AbstractAsyncContextManager[Folding]]


class Refolded(msgspec.Struct, frozen=True):
    """What was found: `sections` in all; `changed` had drifted; `behind` wait for their consumer, as they should."""

    sections: int = 0
    changed: int = 0
    behind: int = 0

    def __add__(self, other: "Refolded") -> "Refolded":
        """Both together."""
        return Refolded(self.sections + other.sections, self.changed + other.changed, self.behind + other.behind)

    @property
    def drift(self) -> float:
        """The share of the sections that had drifted, in percent."""
        return 100 * self.changed / self.sections if self.sections else 100.0 * bool(self.changed)


class _Place(NamedTuple):
    """Where a walk through the streams goes on, and below which name it ends; "" is no bound. Whether it has ended."""

    after: str
    below: str
    ended: bool = False


class _Step(NamedTuple):
    """Some SKUs, as they are written in the log, and the heads of all streams that can give them a section.

    `rest` is where the walk goes on.
    """

    skus: list[str]
    heads: list[StoredEvent]
    rest: _Place


class _Folded(NamedTuple):
    """What a step gives: its SKUs by name, and their sections by SKU and channel."""

    step: _Step
    skus: list[str]
    sections: Sections


_NOWHERE = _Place("", "", ended=True)


def ignore(_: object) -> None:
    """Hears, and does nothing."""


class Refolder:
    """Folds the pages of one domain again. Writes what had drifted, unless it is only asked to look.

    `begin` begins its transactions: those of a repair, unless others are given.
    """

    def __init__(
        self,
        store: Store,
        domain: AnyDomain,
        config: Config,
        *,
        begin: Begin | None = None,
        tell: Tell = ignore,
        advance: Advance = ignore,
    ) -> None:
        self._store = store
        self._domain = domain.name
        self._begin = begin or partial(store.consumption.folding, domain.name)
        self._folder = Folder(domain, config.made_for, store.log)
        sources = config.writers(domain.name)  # whether a channel listens or not: of the others, letters are resolved
        self._tails = [f"/{domain.name}/{encode_part(source)}" for source in sources]
        self._tell = tell
        self._advance = advance

    async def run(self, *, prefix: str = "", write: bool = True) -> Refolded:
        """Every section of the domain, or those of the SKUs that begin with a prefix."""
        found, rows = Refolded(), 0
        place = _Place(*bounds(prefix))
        letters = await self._letters()
        calm = not letters
        while not place.ended:
            if calm:
                place, standing = await self._look(place)
                found, rows = found + Refolded(standing), rows + standing
            if not place.ended:
                place, step, standing = await self._transaction(place, write=write)
                found, rows = found + step, rows + standing
                letters = letters and await self._letters()
                calm = not letters and step == Refolded(step.sections)
        if not prefix and rows == await self._store.pages.count(self._domain):
            return found
        return found + await self._surplus(prefix, write=write)

    async def sample(self, skus: Sequence[str]) -> Refolded:
        """The sections of some SKUs, as they are written in the log, without writing."""
        found = Refolded()
        for start in range(0, len(skus), SAMPLED_SKUS):
            async with self._begin() as folding:
                step = await self._heads_of(skus[start : start + SAMPLED_SKUS])
                found += (await self._settle(folding, step, write=False))[0]
        return found

    async def _letters(self) -> int:
        """How many events are in dead letters. Those that can be folded now will be resolved, in a transaction."""
        return await self._store.dead_letters.count(Wanted("projection", self._domain))

    async def _look(self, place: _Place) -> tuple[_Place, int]:
        """Goes on while everything is as it must be. Gives how far that is, and how many sections those are.

        While one step is looked at, the next is folded, and the streams of the one behind it are read.
        """
        to_fold, scanned = anyio.create_memory_object_stream[_Step](0)
        to_look_at, folded = anyio.create_memory_object_stream[_Folded](0)

        async def scan(rest: _Place = place) -> None:
            async with to_fold:
                while not rest.ended:
                    step = await self._next(rest)
                    rest = step.rest
                    await to_fold.send(step)

        async def fold() -> None:
            async with to_look_at:
                async for step in scanned:
                    await to_look_at.send(await self._fold(step))

        standing = 0
        async with scanned, folded, beside(fold), beside(scan):
            async for step, skus, (sections, bad, _) in folded:
                if bad or not await self._store.pages.holds(self._domain, sections, skus):
                    break
                place, standing = step.rest, standing + len(sections)
                self._advance(len(sections))
        return place, standing

    async def _transaction(self, place: _Place, *, write: bool) -> tuple[_Place, Refolded, int]:
        """Some steps from a place on: how far they go, what they found, and how many rows stand there behind them.

        While one is settled, the streams of the next are read.
        """
        found, rows = Refolded(), 0
        async with self._begin() as folding:
            began = time.monotonic()
            coming = [await self._next(place)]
            while coming:
                step = coming.pop()
                place = step.rest
                async with anyio.create_task_group() as group:
                    if not place.ended and time.monotonic() - began < HOLD_SECONDS:
                        group.start_soon(self._look_ahead, place, coming)
                    settled, standing = await self._settle(folding, step, write=write)
                found, rows = found + settled, rows + standing
        return place, found, rows

    async def _look_ahead(self, place: _Place, coming: list[_Step]) -> None:
        coming.append(await self._next(place))

    async def _next(self, place: _Place) -> _Step:
        """The next SKUs with all of their heads."""
        limit = STREAMS
        after, below, _ = place
        while True:
            scanned = await self._store.log.scan(self._tails, after=after, below=below, limit=limit)
            heads = [head for head in scanned.heads if head.topic == self._domain]
            if scanned.end is None:
                return _step(heads, _Place(after, below, ended=True))
            begun = scanned.end[: scanned.end.find("/") + 1] or scanned.end
            if begun > after:  # else one SKU has more streams than that
                return _step([head for head in heads if not head.originator_id.startswith(begun)], _Place(begun, below))
            limit *= 2

    async def _heads_of(self, skus: Sequence[str]) -> _Step:
        wanted = [sku + tail for sku in skus for tail in self._folder.tails]
        return _Step(list(skus), await self._store.log.heads(wanted), _NOWHERE)

    async def _fold(self, step: _Step) -> _Folded:
        sections = await self._folder.sections(step.heads, dict.fromkeys(step.skus, self._folder.everywhere))
        sections.sections.sort()
        return _Folded(step, [decode_part(sku) for sku in step.skus], sections)

    async def _settle(self, folding: Folding, step: _Step, *, write: bool) -> tuple[Refolded, int]:
        """Compares what stands with what must be, and makes it so. Gives how many rows stand then, too."""
        rows, folded = await self._both(folding, step)
        surplus: dict[tuple[str, str], Section] = {}
        wrong: list[Section] = []
        stood = surplus
        if rows != folded.sections:  # both by SKU and channel
            stood = {(row[0], row[1]): row for row in rows}
            surplus = dict(stood)
            wrong = [section for section in folded.sections if surplus.pop((section[0], section[1]), None) != section]
        if write:
            await self._write(folding, step, folded, wrong, surplus)
        behind = self._told(wrong, surplus, stood, _ahead_of(folding, step.heads) if wrong else ())
        self._advance(len(folded.sections))
        total = len(folded.sections) + len(surplus)
        standing = len(folded.sections) if write else len(rows)
        return Refolded(total, len(wrong) + len(surplus) - behind, behind), standing

    async def _both(self, folding: Folding, step: _Step) -> tuple[list[Section], Sections]:
        """The sections as they stand, and as they must be: read and folded at the same time."""
        stood: list[Section] = []
        folded: list[Sections] = []

        async def read() -> None:
            stood.extend(await folding.sections([decode_part(sku) for sku in step.skus]))

        async def fold() -> None:
            folded.append((await self._fold(step)).sections)

        await together(read, fold)
        return stood, folded[0]

    async def _write(
        self, folding: Folding, step: _Step, folded: Sections, wrong: Sequence[Section], surplus: _Stood
    ) -> None:
        if wrong:
            await folding.write(wrong)
        if surplus:
            await folding.remove(list(surplus))
        if folded.letters:
            await folding.bury(folded.letters)
        await self._folder.resolve(folding, step.heads, folded.bad)

    def _told(
        self,
        wrong: Sequence[Section],
        surplus: _Stood,
        stood: _Stood,
        ahead: Collection[str],
    ) -> int:
        """Tells of every section that has drifted. Gives how many have not: their consumer has not come so far yet."""
        drifted = [section for section in wrong if section.sku not in ahead]
        if self._tell is not ignore:
            for section in drifted:
                before = stood.get((section.sku, section.channel))
                self._tell(_drift(section, "differs" if before else "lost", before, section))
            for section in surplus.values():
                self._tell(_drift(section, "surplus", section, None))
        return len(wrong) - len(drifted)

    async def _surplus(self, prefix: str, *, write: bool) -> Refolded:
        """The rows of SKUs of which the log knows nothing in this domain."""
        found = Refolded()
        skus = [prefix]  # what follows is behind it
        while mine := [encode_part(sku) for sku in skus if sku.startswith(prefix)]:
            async with self._begin() as folding:
                step = await self._heads_of(mine)
                known = {head.originator_id.partition("/")[0] for head in step.heads}
                unknown = [sku for sku in mine if sku not in known]
                if unknown:
                    found += (await self._settle(folding, _Step(unknown, [], _NOWHERE), write=write))[0]
            skus = await self._store.pages.skus(self._domain, skus[-1], SAMPLED_SKUS)
        return found


def bounds(prefix: str) -> tuple[str, str]:
    """After and below which names the streams of the SKUs lie that begin with a prefix; "" is no bound."""
    begin = encode_part(prefix)
    below = begin
    while below:
        following = ord(below[-1]) + 1
        if following <= sys.maxunicode:
            return begin, below[:-1] + chr(following if following not in _SURROGATES else _SURROGATES.stop)
        below = below[:-1]
    return begin, ""


async def sampled(log: Log, number: int) -> list[str]:
    """So many SKUs of the log, at random, as they are written there; all of them when there are no more."""
    chosen: list[str] = []
    seen = 0
    after = ""
    while skus := await log.skus(after, STREAMS):
        after = skus[-1]
        for sku in skus:
            seen += 1
            if len(chosen) < number:
                chosen.append(sku)
            elif (place := _dice.randrange(seen)) < number:
                chosen[place] = sku
    return sorted(chosen)


def _step(heads: list[StoredEvent], rest: _Place) -> _Step:
    return _Step(list(dict.fromkeys(head.originator_id.partition("/")[0] for head in heads)), heads, rest)


def _ahead_of(folding: Folding, heads: Sequence[StoredEvent]) -> set[str]:
    """The SKUs of which the log has news that the consumer has not seen."""
    position = folding.checkpoint.position
    return {decode_part(head[1].partition("/")[0]) for head in heads if head[0] > position}


def _drift(of: Section, kind: SectionDriftKind, before: Section | None, after: Section | None) -> SectionDrift:
    changes = changes_between(_fields(before), _fields(after))
    return SectionDrift(of.sku, of.channel, of.domain, kind, changes)


def _fields(section: Section | None) -> dict[str, JSON]:
    """What a section says, by path. What is no JSON is shown as text."""
    if section is None:
        return {}
    return flatten(
        {
            "enabled": section.enabled,
            "ready": section.ready,
            "sourceVersions": _decoded(section.versions),
            "body": None if section.body is None else _decoded(section.body),
            "occurredAt": section.occurred_at,
            "recordedAt": section.recorded_at,
        }
    )


def _decoded(text: bytes) -> JSON:
    try:
        decoded: JSON = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return text.decode(errors="backslashreplace")
    return decoded
