"""How complete the pages of a channel are: by family, by attribute, and what to fill first."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple, TypeAlias

import msgspec

from pagefold.domains import DOMAINS
from pagefold.domains.channel_view import Completeness
from pagefold.engine.applied.applied_configuration import AppliedConfiguration
from pagefold.engine.configuration.channel_documents import channel_view, counting_sets
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import ReadTooLarge
from pagefold.engine.folding.head_folder import HeadFolder
from pagefold.engine.folding.parent_reader import Spellings
from pagefold.engine.reading.page_selection import PageSelection, SelectedPages
from pagefold.engine.runtime import clock
from pagefold.engine.stores.size_batches import split_equal
from pagefold.engine.stores.store import Store
from pagefold.projections import Channel
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

EVERY_PAGE = PageSelection()

MAX_COUNTS = 64
"""Counts of channels and selections that are kept."""

CATALOG = next(domain for domain in DOMAINS if domain.has_view)


class MeasuredPage(NamedTuple):
    """One page that is not disabled by a source. `unmapped` are the attributes that its contract could not map.

    `completeness` is None if the page is not folded under the channel's contract and requirements yet. `is_selected`
    says whether it is one of those that were asked for.
    """

    sku: str
    family: str | None
    completeness: Completeness | None
    unmapped: Sequence[str] = ()
    is_selected: bool = True

    def lacks(self, attribute: str) -> bool:
        """Whether an attribute is missing, invalid or not mapped."""
        measure = self.completeness
        return measure is not None and attribute in (*measure.missing, *measure.invalid, *self.unmapped)


Measures: TypeAlias = dict[str, MeasuredPage | None]
"""The pages of some SKUs; None where they are disabled, or show an older version."""


class LackingAttribute(msgspec.Struct, rename="camel"):
    """On how many pages an attribute is missing, invalid or not mapped, and on how many of them that blocks.

    `pages` lack it in any way. `completes` pages lack nothing else, `unblocks` nothing else that blocks. `families`
    counts the pages by family.
    """

    attribute: str
    pages: int = 0
    missing: int = 0
    invalid: int = 0
    unmapped: int = 0
    blocks: int = 0
    completes: int = 0
    unblocks: int = 0
    families: dict[str, int] = {}


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
    """The enabled pages of a channel against its contract, such as `web@2`, and its requirement sets.

    `complete` pages lack nothing, `blocked` ones something that blocks. `unmeasured` pages are not folded under these
    documents yet. `attributes` are those that any page lacks: first what unblocks, then what completes most.
    `selection` says which of the pages were counted.
    """

    channel: str
    contract: str | None
    requirements: list[str]
    counted_at: str
    pages: int
    complete: int
    blocked: int
    unmeasured: int
    percent: int
    families: list[FamilyCompleteness]
    attributes: list[LackingAttribute]
    selection: PageSelection = EVERY_PAGE


class _Section(msgspec.Struct):
    """What of a catalog section is counted."""

    family: str | None = None
    contract: str | None = None
    unmapped: Sequence[str] = ()
    completeness: Completeness | None = None
    kept: bool = False


class Documents(NamedTuple):
    """What a channel says: the names and versions of its documents, and whether what its contract cannot map blocks.

    `selected` are the pages that count; None if all do.
    """

    contract: str | None
    requirements: list[str]
    unmapped_blocks: bool
    selected: SelectedPages | None

    def page(self, sku: str, body: bytes) -> MeasuredPage | None:
        """The page that a catalog section is of; None if it shows an older version than the one that is measured."""
        family, contract, unmapped, measure, kept = msgspec.structs.astuple(_section.decode(body))
        if kept:
            return None
        if not self.requirements:
            measure = Completeness(100, [])
        is_selected = self.selected is None or self.selected.has(body)
        return MeasuredPage(sku, family, measure if contract == self.contract else None, unmapped, is_selected)


_section = msgspec.json.Decoder(_Section)


class CompletenessReader:
    """Counts the completeness of pages of one store, under the configuration that counts."""

    def __init__(self, store: Store, applied: AppliedConfiguration) -> None:
        self._store = store
        self._applied = applied
        self._counts: dict[tuple[str, PageSelection], _SharedCount] = {}
        self._selecting = asyncio.Lock()

    async def report(self, channel: str, selection: PageSelection = EVERY_PAGE) -> CompletenessReport:
        """Counts the pages of a channel, in memory that does not grow with their number.

        Raises `StoreUnavailable`. The selection has no problem.
        """
        documents = documents_of(self._applied.config, channel, selection)
        counter = _Counter(documents)
        async for page in self.pages(channel, selection):
            counter.add(page)
        return msgspec.structs.replace(counter.report(channel), selection=selection)

    async def recent(self, channel: str, selection: PageSelection = EVERY_PAGE) -> CompletenessReport:
        """The same, some seconds old. Concurrent callers share one count; selections are counted one after another."""
        shared = self._shared_count(channel, selection)
        async with shared.lock, self._selecting if selection != EVERY_PAGE else nullcontext():
            if shared.report is None or time.monotonic() >= shared.until:
                begun = time.monotonic()
                shared.report = await self.report(channel, selection)
                took = time.monotonic() - begun
                shared.until = begun + took + max(FRESH_SECONDS, 10 * took)
            return shared.report

    def _shared_count(self, channel: str, selection: PageSelection) -> "_SharedCount":
        key = (channel, selection)
        shared = self._counts.pop(key, None) or _SharedCount()
        self._counts[key] = shared
        if len(self._counts) > MAX_COUNTS:
            del self._counts[next(iter(self._counts))]
        return shared

    async def lacking(
        self, channel: str, attribute: str, selection: PageSelection = EVERY_PAGE
    ) -> AsyncIterator[MeasuredPage]:
        """The pages on which an attribute is missing, invalid or not mapped, by SKU."""
        async for page in self.pages(channel, selection):
            if page.lacks(attribute):
                yield page

    async def pages(self, channel: str, selection: PageSelection = EVERY_PAGE) -> AsyncIterator[MeasuredPage]:
        """The pages of a channel that are not disabled by a source, by SKU; those that are hidden too, or kept."""
        documents = documents_of(self._applied.config, channel, selection)
        folder = self._unhidden(channel)
        after = ""
        while skus := await self._store.pages.skus(CATALOG.name, after, CHUNK_SKUS):
            after = skus[-1]
            found = await _in_parts(lambda part, size: self._measured(part, channel, documents, size), skus)
            hidden = [sku for sku, page in found.items() if page is None]
            if folder is not None and hidden:
                found |= await _in_parts(partial(_folded, folder, documents, self._store.references), hidden)
            for sku in skus:
                if (page := found.get(sku)) is not None and page.is_selected:
                    yield page

    async def _measured(
        self, skus: Sequence[str], channel: str, documents: Documents, max_bytes: int | None
    ) -> Measures:
        """The stored pages of some SKUs."""
        rows = await self._store.pages.sections_of(skus, channel, max_bytes=max_bytes)
        bodies = {sku: row[4] for sku, sections in rows.items() for row in sections if row[0] == CATALOG.name}
        return {sku: None if body is None else documents.page(sku, body) for sku, body in bodies.items()}

    def _unhidden(self, channel: str) -> HeadFolder | None:
        """Folds the channel as if incomplete pages were shown; None if they are."""
        config = self._applied.config
        if config.channels[channel].incomplete == "show":
            return None
        return HeadFolder(CATALOG, [shown_channel(config, channel)], self._store.log)


def shown_channel(config: Config, name: str) -> Channel:
    """A channel as if incomplete pages were shown."""
    [resolved] = [each for each in config.resolved_channels if each.name == name]
    settings = msgspec.structs.replace(config.channels[name], incomplete="show")
    return msgspec.structs.replace(resolved, view=channel_view(settings, resolved.context().locales, config.day))


def is_measured(config: Config, channel: str) -> bool:
    """Whether the configuration says what pages of a channel should have."""
    settings = config.channels.get(channel)
    return settings is not None and (settings.contract is not None or bool(settings.requirements))


async def _folded(
    folder: HeadFolder, documents: Documents, spellings: Spellings, skus: Sequence[str], max_bytes: int | None
) -> Measures:
    """The pages that the log gives."""
    heads = await folder.heads(list(map(encode_part, skus)), max_bytes)
    folded = (await folder.sections(heads, spellings)).sections
    sections = [section for each in folded for section in each.sections()]
    return {each.sku: None if each.body is None else documents.page(each.sku, each.body) for each in sections}


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

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
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
        lacking = {*measure.missing, *measure.invalid, *page.unmapped}
        blocking = {*measure.missing, *measure.invalid}.difference(measure.warns)
        if self._documents.unmapped_blocks:
            blocking.update(page.unmapped)
        family.pages += 1
        family.complete += not lacking
        family.blocked += bool(blocking)
        self._percents[name] += measure.percent
        for attribute in lacking:
            counted = self._attributes.setdefault(attribute, LackingAttribute(attribute, families={}))
            counted.pages += 1
            counted.missing += attribute in measure.missing
            counted.invalid += attribute in measure.invalid
            counted.unmapped += attribute in page.unmapped
            counted.blocks += attribute in blocking
            counted.completes += len(lacking) == 1
            counted.unblocks += blocking == {attribute}
            counted.families[name] = counted.families.get(name, 0) + 1

    def report(self, channel: str) -> CompletenessReport:
        """What was counted."""
        families = sorted(self._families.values(), key=lambda each: each.family)
        for family in families:
            family.percent = self._percents[family.family] // family.pages
        pages = sum(each.pages for each in families)
        return CompletenessReport(
            channel,
            self._documents.contract,
            self._documents.requirements,
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


def documents_of(config: Config, channel: str, selection: PageSelection = EVERY_PAGE) -> Documents:
    """The contract and the requirement sets of a channel, and which of its pages count."""
    settings = config.channels[channel]
    contract = settings.contract if isinstance(settings.contract, dict) else None
    requirements = counting_sets(settings, config.day)
    return Documents(
        None if contract is None else _identity(contract),
        list(map(_identity, requirements)),
        contract is not None and contract.get("unmapped") == "fail",
        selection.compiled(config, channel),
    )


def _identity(document: Mapping[str, object]) -> str:
    return f"{document['name']}@{document.get('version', 1)}"
