"""Reads pages: each is one local read, spliced from stored bytes."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple, cast, overload

import msgspec
import orjson

from pagefold.domains import DOMAINS
from pagefold.domains.sections import (
    CatalogSection,
    InventorySection,
    MediaSection,
    PageDocument,
    PageSections,
    PricingSection,
)
from pagefold.engine.configuration.config import Config
from pagefold.engine.stores.event_state import EventState
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.page_listing import ListedPage
from pagefold.engine.stores.past_log import HeadReader
from pagefold.engine.stores.section_rows import SectionState
from pagefold.engine.stores.store import Made, Pages
from pagefold.projections import Splicer, Stream, normalise_sku, stream_id
from pagefold.projections.splicer import PageFlags, StoredSection
from pagefold.projections.streams import EVERY_CHANNEL, is_storable_sku

MAX_VERSIONS = 50
"""Versions of each source that are read to find whether a disabled page was ever live."""

VERSIONS_PER_READ = 5


class ProductPage(msgspec.Struct, frozen=True):
    """One ready-made page: `page["inventory"]["available"]`.

    `sections` has every domain, None where there is nothing to show. `ready` says that all domains are ready that the
    channel requires, `readiness` has each of them. `source_versions` maps `domain/source` to the version that is shown;
    `updated_at` is when the newest change of the page occurred, in UTC.
    """

    sku: str
    channel: str
    status: Literal["live", "disabled"]
    ready: bool
    readiness: dict[str, bool]
    source_versions: dict[str, int]
    updated_at: datetime
    sections: PageSections

    @overload
    def __getitem__(self, domain: Literal["catalog"]) -> CatalogSection: ...
    @overload
    def __getitem__(self, domain: Literal["pricing"]) -> PricingSection: ...
    @overload
    def __getitem__(self, domain: Literal["inventory"]) -> InventorySection: ...
    @overload
    def __getitem__(self, domain: Literal["media"]) -> MediaSection: ...
    @overload
    def __getitem__(self, domain: str) -> Mapping[str, object]: ...

    def __getitem__(self, domain: str) -> Mapping[str, object]:
        """The section of a domain. Raises `KeyError` if the page has none to show, or there is no such domain."""
        section = cast("Mapping[str, Mapping[str, object] | None]", self.sections).get(domain)
        if section is None:
            raise KeyError(domain)
        return section

    def __contains__(self, domain: object) -> bool:
        """Whether the page has a section of a domain to show."""
        return cast("Mapping[object, object]", self.sections).get(domain) is not None


class PageReader:
    """Reads the pages of one store under one configuration, until `configure` gives it another."""

    def __init__(self, pages: Pages, config: Config) -> None:
        self._pages = pages
        self._sections = pages.sections
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Reads pages under a configuration from now on. What was made of pages before is forgotten."""
        self._channels = frozenset(config.channels)
        splicer = Splicer(DOMAINS, config.resolved_channels)
        self._splice = splicer.splice
        self._flags = splicer.flags
        self._read_live = self._pages.batch_reader(self._live)

    async def get_json(self, sku: str, channel: str, *, disabled: bool = False) -> bytes | None:
        """The page as it is served; None when there is none, or it is disabled and `disabled` is false.

        Raises `StoreUnavailable`.
        """
        if channel not in self._channels:
            return None
        if not (sku.isascii() and sku.isprintable()):
            sku = normalise_sku(sku)
            if not is_storable_sku(sku):
                return None
        rows = await self._sections(sku, channel)
        if not rows:
            return None
        return self._splice(sku, channel, rows, disabled=disabled)

    def sync_reader(self, make: Callable[[str, str, bytes], Made]) -> Callable[[str, str], Made | None] | None:
        """A function that reads without awaiting: of SKU and channel, it returns `make(sku, channel, page)`.

        It returns None where `get_json` does, and for SKUs beyond ASCII, which only `get_json` can read. Results are
        reused while no page has changed. None where the store can only be read by awaiting.
        """

        def of_rows(sku: str, channel: str, rows: Sequence[StoredSection]) -> Made | None:
            page = self._live(sku, channel, rows)
            return None if page is None else make(sku, channel, page)

        read, channels = self._pages.sync_reader(of_rows), self._channels
        if read is None:
            return None

        def found(sku: str, channel: str) -> Made | None:
            nonlocal read, channels
            if channels is not self._channels:  # what was read before was made under another configuration
                read, channels = self._pages.sync_reader(of_rows), self._channels
            if read is None or channel not in channels or not (sku.isascii() and sku.isprintable()):
                return None
            return read(sku, channel)

        return found

    def _live(self, sku: str, channel: str, rows: Sequence[StoredSection]) -> bytes | None:
        """The page, None if there is none or it is disabled."""
        return self._splice(sku, channel, rows, disabled=False) if rows else None

    def state_of(self, sku: str, channel: str, rows: Sequence[StoredSection]) -> "PageState":
        """The state of a page of these sections; `NO_PAGE` if there are none, or no such channel."""
        if not rows or channel not in self._channels:
            return NO_PAGE
        flags = self.flags(channel, {row[0]: (row[1], row[2]) for row in rows})
        if flags is None:
            return NO_PAGE
        document = self._splice(sku, channel, rows, disabled=False)
        return PageState(document, flags.ready, max(row[5] for row in rows))

    def flags(self, channel: str, sections: Mapping[str, SectionState]) -> PageFlags | None:
        """Whether a page of sections in these states is live and ready; None if there is none, or no such channel."""
        return self._flags(channel, sections) if channel in self._channels else None

    async def get(self, sku: str, channel: str, *, disabled: bool = False) -> ProductPage | None:
        """The page, decoded; None where `get_json` returns None."""
        text = await self.get_json(sku, channel, disabled=disabled)
        return None if text is None else decode_page(text)

    async def get_many_json(
        self, skus: Sequence[str], channel: str, *, disabled: bool = False, max_bytes: int | None = None
    ) -> dict[str, bytes]:
        """The pages of several SKUs as they are served, by SKU as requested. Without those that are not shown.

        Disabled pages are returned only on request.

        One query, whatever their number, or none for those that were read before, as long as nothing has changed since.
        Raises `StoreUnavailable`, and `ReadTooLarge` where the sections that it reads have more than `max_bytes`
        together.
        """
        if channel not in self._channels:
            return {}
        wanted = {sku: normalise_sku(sku) for sku in skus}
        names = sorted({name for name in wanted.values() if is_storable_sku(name)})
        pages: Mapping[str, bytes | None]
        if disabled:
            rows = await self._pages.sections_of(names, channel, max_bytes=max_bytes)
            pages = {name: self._splice(name, channel, rows[name], disabled=True) for name in rows}
        else:
            pages = await self._read_live(names, channel, max_bytes)
        found = {sku: pages.get(name) for sku, name in wanted.items()}
        return {sku: page for sku, page in found.items() if page is not None}

    async def list_pages(self, channel: str, after: str, limit: int) -> "list[PageSummary]":
        """Summaries of the pages of up to `limit` SKUs after `after` in a channel; "" begins.

        A SKU without a page has a summary too, so that the last one is always the next `after`.
        """
        return [page for page, _ in await self.listing_with_domains(channel, after, limit)]

    async def listing_with_domains(
        self, channel: str, after: str, limit: int
    ) -> "list[tuple[PageSummary, frozenset[str]]]":
        """As `listing`, each page with the domains that it has sections of."""
        listed = await self._pages.list_pages(channel, after, limit)
        return [(self._summary(page, channel), frozenset(each.domain for each in page.sections)) for page in listed]

    def _summary(self, page: ListedPage, channel: str) -> "PageSummary":
        flags = self.flags(channel, {each.domain: (each.enabled, each.ready) for each in page.sections})
        if flags is None:
            return PageSummary(page.sku, "absent", ready=False, readiness={}, updated_at=None)
        readiness = {domain.name: False for domain in DOMAINS}
        readiness |= {each.domain: each.ready for each in page.sections if each.domain in readiness}
        updated_at = max(each.occurred_at for each in page.sections)
        return PageSummary(page.sku, "live" if flags.live else "disabled", flags.ready, readiness, updated_at)


class PageState(NamedTuple):
    """A page as it is served, None if it is disabled; whether it is ready; when its newest change occurred."""

    document: bytes | None
    ready: bool
    updated_at: str | None


NO_PAGE = PageState(None, ready=False, updated_at=None)


class PageSummary(msgspec.Struct, frozen=True, rename="camel"):
    """The state of one page. `status` is `absent`, and `updated_at` None, where there is none."""

    sku: str
    status: Literal["live", "disabled", "absent"]
    ready: bool
    readiness: dict[str, bool]
    updated_at: str | None


_IDENTITY = next(domain for domain in DOMAINS if domain.gives_identity)


_state = msgspec.json.Decoder(EventState)


class _Published(msgspec.Struct):
    """The part of a catalog payload that shows or hides the page."""

    enabled: bool = True


async def was_live(log: HeadReader, config: Config, sku: str, channel: str) -> bool:
    """Whether a page that is now disabled was ever live.

    It was if one of the last `MAX_VERSIONS` catalog events of the channel's sources, for this channel or `*`, left it
    enabled. The answer depends on the log alone, not on arrival order or on reads. A page that no source disables, but
    the channel hides since something is missing or a filter has it so, counts as one that is not there yet.
    """
    sku = normalise_sku(sku)
    if not is_storable_sku(sku):
        return False
    listens = next(each.sources.get(_IDENTITY.name, ()) for each in config.resolved_channels if each.name == channel)
    streams = [
        stream_id(Stream(sku, where, _IDENTITY.name, source))
        for source in listens
        for where in (channel, EVERY_CHANNEL)
    ]
    settings = config.channels[channel]
    if (settings.filters or settings.incomplete != "show") and _is_enabled(await log.heads(streams)):
        return False
    for stream in streams:
        for head in await log.heads([stream]):
            if _was_enabled(head) or await _was_enabled_before(log, head):
                return True
    return False


async def _was_enabled_before(log: HeadReader, head: StoredEvent) -> bool:
    """Whether a version before the head was enabled. Reads few at a time: they may be large, and the newest suffice."""
    looked_at, oldest = 0, head
    while looked_at < MAX_VERSIONS:
        older = await log.older_events(oldest, min(VERSIONS_PER_READ, MAX_VERSIONS - looked_at))
        if not older:
            return False
        if any(map(_was_enabled, older)):
            return True
        looked_at, oldest = looked_at + len(older), older[-1]
    return False


def _is_enabled(heads: Sequence[StoredEvent]) -> bool:
    """Whether the sources show the page: one of them at least, and none disables it."""
    said = [published.enabled for head in heads if (published := _published(head)) is not None]
    return bool(said) and all(said)


def _was_enabled(event: StoredEvent) -> bool:
    published = _published(event)
    return published is not None and published.enabled


def _published(event: StoredEvent) -> _Published | None:
    """What an event says; None of one that withdraws, or that was never folded."""
    try:
        return msgspec.json.decode(_state.decode(event.state).payload, type=_Published | None)
    except msgspec.MsgspecError:
        return None


def decode_page(text: bytes) -> ProductPage:
    """The page of its JSON."""
    document = orjson.loads(text)
    page: PageDocument = document
    return ProductPage(
        sku=page["sku"],
        channel=page["channel"],
        status=page["status"],
        ready=page["ready"],
        readiness=page["readiness"],
        source_versions=page["sourceVersions"],
        updated_at=datetime.fromisoformat(page["updatedAt"]),
        sections=cast("PageSections", {domain.name: document[domain.name] for domain in DOMAINS}),
    )
