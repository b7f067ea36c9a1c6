"""How complete the pages of a channel are: by family, by attribute, and what to fill first."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import msgspec

from pagefold.domains import DOMAINS
from pagefold.domains.channel_view import Completeness
from pagefold.engine.configuration.channel_documents import channel_view
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import ReadTooLarge
from pagefold.engine.folding.folder import Folder
from pagefold.engine.runtime import clock
from pagefold.engine.stores.size_batches import split_equal
from pagefold.engine.stores.store import Store
from pagefold.projections.streams import encode_part

CHUNK_SKUS = 500
"""SKUs that are read at a time."""

CHUNK_BYTES = 8 * 1024 * 1024
"""Bytes of their sections, unless one SKU has more."""

MAX_FAMILIES = 1_000
"""Families that are counted one by one; all further ones are counted together."""

OTHER_FAMILIES = "…"

FRESH_SECONDS = 10.0
"""How long a count is used again, however the pages change; at least ten times what it took."""

CATALOG = next(domain for domain in DOMAINS if domain.has_view)


class MeasuredPage(NamedTuple):
    """One page with its family; `completeness` is None if its section has none yet. Disabled pages have no measure."""

    sku: str
    family: str | None
    completeness: Completeness | None


Measures: TypeAlias = dict[str, MeasuredPage | None]
"""The pages of some SKUs; None where they are disabled."""


class LackingAttribute(msgspec.Struct, rename="camel"):
    """On how many pages an attribute is missing or invalid, and on how many of them that blocks.

    `completes` pages lack nothing else, `unblocks` nothing else that blocks. `families` counts the pages by family.
    """

    attribute: str
    missing: int = 0
    invalid: int = 0
    blocks: int = 0
    completes: int = 0
    unblocks: int = 0
    families: dict[str, int] = {}

    @property
    def pages(self) -> int:
        """How many pages lack it."""
        return self.missing + self.invalid


class FamilyCompleteness(msgspec.Struct, rename="camel"):
    """The pages of a family, "" for those without one: all, those that lack nothing, those that something blocks.

    `percent` is the mean of the pages, rounded down.
    """

    family: str
    pages: int = 0
    complete: int = 0
    blocked: int = 0
    percent: int = 0


class CompletenessReport(msgspec.Struct, rename="camel"):
    """The enabled pages of a channel against its requirement sets, such as `google-merchant@1`.

    `complete` pages lack nothing, `blocked` ones something that blocks. `unmeasured` pages are not folded under these
    requirements yet. `attributes` are those that any page lacks: first what unblocks, then what completes most.
    """

    channel: str
    requirements: list[str]
    counted_at: str
    pages: int
    complete: int
    blocked: int
    unmeasured: int
    percent: int
    families: list[FamilyCompleteness]
    attributes: list[LackingAttribute]


class _Section(msgspec.Struct):
    """What of a catalog section is counted."""

    family: str | None = None
    completeness: Completeness | None = None


_section = msgspec.json.Decoder(_Section)


class CompletenessReader:
    """Counts the completeness of pages of one store under one configuration."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._config = config
        self._counts: dict[str, _SharedCount] = {}

    async def report(self, channel: str) -> CompletenessReport:
        """Counts all pages of a channel, in memory that does not grow with their number. Raises `StoreUnavailable`."""
        counter = _Counter()
        async for page in self.pages(channel):
            counter.add(page)
        return counter.report(channel, requirement_names(self._config, channel))

    async def recent(self, channel: str) -> CompletenessReport:
        """The same, some seconds old. Concurrent callers share one count."""
        shared = self._counts.setdefault(channel, _SharedCount())
        async with shared.lock:
            if shared.report is None or time.monotonic() >= shared.until:
                begun = time.monotonic()
                shared.report = await self.report(channel)
                took = time.monotonic() - begun
                shared.until = begun + took + max(FRESH_SECONDS, 10 * took)
            return shared.report

    async def lacking(self, channel: str, attribute: str) -> AsyncIterator[MeasuredPage]:
        """The pages on which an attribute is missing or invalid, by SKU."""
        async for page in self.pages(channel):
            measure = page.completeness
            if measure is not None and (attribute in measure.missing or attribute in measure.invalid):
                yield page

    async def pages(self, channel: str) -> AsyncIterator[MeasuredPage]:
        """The pages of a channel that are not disabled by a source, by SKU; those that are hidden too."""
        folder = self._unhidden(channel)
        after = ""
        while skus := await self._store.pages.skus(CATALOG.name, after, CHUNK_SKUS):
            after = skus[-1]
            found = await _in_parts(lambda part, size: self._measured(part, channel, size), skus)
            hidden = [sku for sku, page in found.items() if page is None]
            if folder is not None and hidden:
                found |= await _in_parts(partial(_folded, folder), hidden)
            for sku in skus:
                if (page := found.get(sku)) is not None:
                    yield page

    async def _measured(self, skus: Sequence[str], channel: str, max_bytes: int | None) -> Measures:
        """The stored pages of some SKUs."""
        rows = await self._store.pages.sections_of(skus, channel, max_bytes=max_bytes)
        bodies = {sku: row[4] for sku, sections in rows.items() for row in sections if row[0] == CATALOG.name}
        return {sku: None if body is None else _page(sku, body) for sku, body in bodies.items()}

    def _unhidden(self, channel: str) -> Folder | None:
        """Folds the channel as if incomplete pages were shown; None if they are."""
        settings = self._config.channels[channel]
        if settings.incomplete != "hide":
            return None
        [resolved] = [each for each in self._config.resolved_channels if each.name == channel]
        view = channel_view(msgspec.structs.replace(settings, incomplete="show"), resolved.locale)
        return Folder(CATALOG, [msgspec.structs.replace(resolved, view=view)], self._store.log)


async def _folded(folder: Folder, skus: Sequence[str], max_bytes: int | None) -> Measures:
    """The pages that the log gives."""
    heads = await folder.heads(list(map(encode_part, skus)), max_bytes)
    folded = (await folder.sections(heads)).sections
    sections = [section for each in folded for section in each.sections()]
    return {each.sku: None if each.body is None else _page(each.sku, each.body) for each in sections}


async def _in_parts(read: Callable[[Sequence[str], int | None], Awaitable[Measures]], skus: Sequence[str]) -> Measures:
    """What is read of some SKUs, in as many parts as their size needs."""
    try:
        return await read(skus, CHUNK_BYTES if len(skus) > 1 else None)
    except ReadTooLarge as error:
        found: Measures = {}
        for part in split_equal(skus, error.parts):
            found |= await _in_parts(read, part)
        return found


class _SharedCount:
    """The last count of a channel."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.report: CompletenessReport | None = None
        self.until = 0.0


class _Counter:
    """Counts pages one by one."""

    def __init__(self) -> None:
        self._families: dict[str, FamilyCompleteness] = {}
        self._percents: Counter[str] = Counter()
        self._attributes: dict[str, LackingAttribute] = {}
        self._unmeasured = 0

    def add(self, page: MeasuredPage) -> None:
        """Counts a page."""
        measure = page.completeness
        if measure is None:
            self._unmeasured += 1
            return
        name = page.family or ""
        if name not in self._families and len(self._families) >= MAX_FAMILIES:
            name = OTHER_FAMILIES
        family = self._families.setdefault(name, FamilyCompleteness(name))
        lacking = [*measure.missing, *measure.invalid]
        blocking = set(lacking).difference(measure.warns)
        family.pages += 1
        family.complete += not lacking
        family.blocked += bool(blocking)
        self._percents[name] += measure.percent
        for attribute in lacking:
            counted = self._attributes.setdefault(attribute, LackingAttribute(attribute, families={}))
            counted.missing += attribute in measure.missing
            counted.invalid += attribute in measure.invalid
            counted.blocks += attribute in blocking
            counted.completes += len(lacking) == 1
            counted.unblocks += blocking == {attribute}
            counted.families[name] = counted.families.get(name, 0) + 1

    def report(self, channel: str, requirements: Sequence[str]) -> CompletenessReport:
        """What was counted."""
        families = sorted(self._families.values(), key=lambda each: each.family)
        for family in families:
            family.percent = self._percents[family.family] // family.pages
        pages = sum(each.pages for each in families)
        return CompletenessReport(
            channel,
            list(requirements),
            clock.now(),
            pages,
            sum(each.complete for each in families),
            sum(each.blocked for each in families),
            self._unmeasured,
            self._percents.total() // pages if pages else 100,
            families,
            sorted(self._attributes.values(), key=_first_to_fill),
        )


def _first_to_fill(each: LackingAttribute) -> tuple[int, int, int, str]:
    return -each.unblocks, -each.completes, -each.pages, each.attribute


def _page(sku: str, body: bytes) -> MeasuredPage:
    section = _section.decode(body)
    return MeasuredPage(sku, section.family, section.completeness)


def requirement_names(config: Config, channel: str) -> list[str]:
    """The requirement sets of a channel, by name and version."""
    documents = [each for each in config.channels[channel].requirements if isinstance(each, dict)]
    return [f"{each['name']}@{each.get('version', 1)}" for each in documents]
