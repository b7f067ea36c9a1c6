"""The contract of a store: what the log, the pages, the fold transactions, dead letters and tokens promise.

`engine.stores.sqlite` and `engine.stores.postgres` keep it, file by file; one test suite runs against both.

Every method may raise `StoreUnavailable`. The outcome of a write is then unknown, and every write can be repeated. No
method returns an empty result for a failure.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Self, TypeAlias, TypeVar

from pagefold.engine.configuration.config import Config
from pagefold.engine.events import Reference
from pagefold.engine.stores.alert_records import Alerts
from pagefold.engine.stores.audit_records import AuditRecords
from pagefold.engine.stores.dead_letter_records import DeadLetters, NewDeadLetter, Resolution
from pagefold.engine.stores.delivery_letters import DeliveryLetters
from pagefold.engine.stores.delivery_records import Deliveries
from pagefold.engine.stores.delivery_targets import DeliveryTargets
from pagefold.engine.stores.epoch_fence import Fence
from pagefold.engine.stores.feed_records import FeedRecords
from pagefold.engine.stores.fetch_records import Fetches
from pagefold.engine.stores.field_ledger import FieldLedger
from pagefold.engine.stores.kpi_records import KpiPoints
from pagefold.engine.stores.log_proof import Proof
from pagefold.engine.stores.log_records import (
    CorrectionEvent,
    HeadContents,
    Lag,
    LoggedEvent,
    NewEvent,
    ScannedHeads,
    StoredEvent,
    TouchedStreams,
)
from pagefold.engine.stores.page_listing import ListedPage, PageLayout
from pagefold.engine.stores.plan_records import Plans
from pagefold.engine.stores.recorder_records import Records
from pagefold.engine.stores.reference_records import KnownReferences, StoredReference
from pagefold.engine.stores.schedule_records import Schedule
from pagefold.engine.stores.session_records import Sessions
from pagefold.engine.stores.store_health import StoreHealth
from pagefold.engine.stores.token_records import Tokens
from pagefold.projections.section_fold import SharedSections
from pagefold.projections.splicer import StoredSection

Made = TypeVar("Made")
"""What a reader makes of a page's sections."""

BatchReader: TypeAlias = Callable[[Sequence[str], str, int | None], Awaitable[dict[str, Made]]]
"""A function of some SKUs, a channel and `max_bytes` as in `Pages.sections_of`: what is made of each page, by SKU."""


class Streak(NamedTuple):
    """How many events of a source in a row were stale on arrival, with no new one between them.

    Once a source looks reset, it counts on until an operator answers: see `pagefold.engine.folding.source_resets`. Late
    deliveries do not count: only events that occurred no earlier than the newer version in the log.
    """

    domain: str
    source: str
    stale: int


class Checkpoint(NamedTuple):
    """How far a domain is folded, and how many events were folded, stale or dead.

    `applied + stale + dead` is the exact number of the domain's events up to `position`: folded as the head of their
    stream, superseded before they were folded, or impossible to fold. `fingerprint` is that of the configuration that
    folded first; `holder` names the current or last worker; `mark` is that of the event at `position`: see
    `pagefold.engine.stores.log_proof`.
    """

    domain: str
    position: int = 0
    applied: int = 0
    stale: int = 0
    dead: int = 0
    fingerprint: str | None = None
    holder: str | None = None
    mark: bytes | None = None


class Log(ABC):
    """The events, append-only, in the order of their positions, which become visible in ascending order.

    Methods that append raise `LogReplaced` if the log is not the one that was folded: see `engine.stores.log_proof`.
    """

    @abstractmethod
    async def insert(self, events: Sequence[NewEvent], fence: Fence | None = None) -> list[int | None]:
        """Appends, durably and in one transaction, the events whose (stream, version) is free.

        Returns for each, in order, its position, or None if its version was taken, also by an earlier one of these.
        Raises `EpochsMoved` if the fence does not hold in that transaction.
        """

    @abstractmethod
    async def correct(self, corrections: Sequence[CorrectionEvent], fence: Fence | None = None) -> list[int | None]:
        """As `insert`, for corrections whose (stream, version, revision) is free."""

    @abstractmethod
    async def generation(self) -> int:
        """The number of events in the stream `EPOCHS`."""

    @abstractmethod
    async def newest_versions(self, streams: Collection[str]) -> dict[str, int]:
        """The highest version of each stream that exists."""

    @abstractmethod
    async def events_at(self, versions: Collection[tuple[str, int]]) -> list[StoredEvent]:
        """The events at these (stream, version), with every revision, in no order."""

    @abstractmethod
    async def end(self) -> int:
        """The position of the newest event, 0 if there is none."""

    @abstractmethod
    async def touched(self, domain: str, after: int, limit: int) -> TouchedStreams:
        """The streams of a domain in the next `limit` events of the log after `after`."""

    @abstractmethod
    async def heads(
        self, streams: Sequence[str], *, max_bytes: int | None = None, as_of: int | None = None
    ) -> list[StoredEvent]:
        """The event with the highest (version, revision) of each stream that exists, in no order.

        With `as_of`, among the events up to this position. That takes a step in the index for each newer version of
        a stream that came later. Raises `ReadTooLarge` if their states together have more than `max_bytes`.
        """

    @abstractmethod
    async def streams_of(self, skus: Sequence[str]) -> list[str]:
        """The names of all streams of some SKUs (encoded as in the log), in no order."""

    @abstractmethod
    async def older_events(self, event: StoredEvent, limit: int, *, as_of: int | None = None) -> list[StoredEvent]:
        """The newest events of the same stream that are older by (version, revision), newest first.

        With `as_of`, of those up to this position.
        """

    @abstractmethod
    async def older_events_of(
        self, events: Sequence[StoredEvent], limit: int, max_state: int, *, as_of: int | None = None
    ) -> dict[str, list[StoredEvent]]:
        """As `older_events`, for events of different streams, by stream.

        A stream is left out if one of the events that are found has a state of more than `max_state` bytes.
        """

    @abstractmethod
    def history(self, prefix: str, after: tuple[str, int, int] | None = None) -> AsyncIterator[StoredEvent]:
        """Every event of the streams that begin with `prefix`, by (stream, version, revision). Read in bounded steps.

        With `after`, only those after it.
        """

    @abstractmethod
    async def scan(
        self, suffixes: Collection[str], *, after: str, below: str, limit: int, max_bytes: int
    ) -> ScannedHeads:
        """Scans the next streams by name with after < name < below, at most `limit`, and returns some of their heads.

        Those whose name ends in one of `suffixes`, such as `/pricing/erp`. The states of the heads have at most
        `max_bytes` together, unless they are of one stream. If they and the next have more than half of that, it may
        scan fewer streams, but at least one. "" starts; "" as `below` is no bound.
        """

    @abstractmethod
    async def head_contents(
        self, suffixes: Collection[str], *, after: str, below: str, limit: int, max_bytes: int, since: int
    ) -> HeadContents:
        """As `scan`, but returns only stream, version, and the end of the state from `"payload":` on.

        For a domain event, that is the result of `event_state.head_content`. They sort as their streams do. The content
        of an event after the position `since` equals none of those.
        """

    @abstractmethod
    async def skus(self, after: str, limit: int) -> list[str]:
        """The next SKUs that have streams, encoded as in the log, in the order of their streams. "" starts.

        So `A-1` comes before `A`, as its streams do. Streams without a slash, as applications have, belong to no SKU.
        """

    @abstractmethod
    async def window(self, domain: str, after: int, upto: int) -> list[StoredEvent]:
        """The events of a domain with after < position <= upto, in order."""

    @abstractmethod
    async def untouched(self, streams: Collection[str], since: int) -> set[str]:
        """The streams that have no event after a position."""

    @abstractmethod
    async def lag(self, domain: str, after: int, *, limit: int | None = None) -> Lag:
        """The events of a domain after a position, counted among the next `limit` events of the log."""

    @abstractmethod
    async def next_events(self, after: int, limit: int) -> list[LoggedEvent]:
        """The next events of any topic after a position, in order. For a small `limit`: it may block the event loop."""

    @property
    @abstractmethod
    def hints(self) -> int:
        """How often there was a hint that the log has grown."""

    @abstractmethod
    async def wait_for_hint(self, seen: int, seconds: float) -> None:
        """Returns when there were more hints than `seen`, or when it is time to look, after at most `seconds`.

        Hints may be missing, or wrong.
        """

    async def wait(self, after: int, seconds: float) -> None:
        """Returns when the log has grown past `after`, or after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            seen = self.hints
            if await self.end() > after or (seconds_left := deadline - time.monotonic()) <= 0:
                return
            await self.wait_for_hint(seen, seconds_left)


class Pages(ABC):
    """The sections as readers see them: always complete, never older than before."""

    @abstractmethod
    async def sections(self, sku: str, channel: str) -> Sequence[StoredSection]:
        """The sections of one page, sorted by domain. Empty if there is none."""

    @abstractmethod
    def sync_reader(
        self, make: Callable[[str, str, Sequence[StoredSection]], Made]
    ) -> Callable[[str, str], Made] | None:
        """A synchronous reader: a function that returns what `make` makes of SKU, channel and the current sections.

        While no page has changed, an earlier result may be returned, so `make` must be deterministic. None if reads
        need to wait.
        """

    @abstractmethod
    def batch_reader(self, make: Callable[[str, str, Sequence[StoredSection]], Made]) -> BatchReader[Made]:
        """A reader of many pages: a function that returns what `make` makes of each SKU, channel and its sections.

        As with `sync_reader`, earlier results may be returned while no page has changed.
        """

    @abstractmethod
    async def sections_of(
        self, skus: Sequence[str], channel: str, *, max_bytes: int | None = None
    ) -> Mapping[str, Sequence[StoredSection]]:
        """The sections of the pages of several SKUs in a channel, as `sections` returns them; none for SKUs without.

        Raises `ReadTooLarge` if those of all channels have more than `max_bytes` together.
        """

    @abstractmethod
    async def sections_in(
        self, wanted: Mapping[str, Collection[str]], *, max_bytes: int | None = None
    ) -> Mapping[tuple[str, str], Sequence[StoredSection]]:
        """The sections of the pages of several SKUs, each in some channels, as `sections` returns them, in one read.

        None for pages without. `max_bytes` as in `sections_of`.
        """

    @abstractmethod
    async def page_skus(self, after: str, limit: int) -> list[str]:
        """The next SKUs that have pages, by name. "" starts."""

    @abstractmethod
    async def list_pages(self, channel: str, after: str, limit: int) -> list[ListedPage]:
        """The pages of the next SKUs in a channel, by SKU. "" starts. Includes SKUs without a page there."""

    @abstractmethod
    def keys(self) -> AsyncIterator[tuple[str, str]]:
        """(sku, channel) of every page, in that order. Read in chunks."""

    @abstractmethod
    async def skus(self, domain: str, after: str, limit: int) -> list[str]:
        """The next SKUs that have a section of a domain, by name. "" starts."""

    @abstractmethod
    async def matches(self, domain: str, sections: Sequence[SharedSections], skus: Collection[str]) -> bool:
        """Whether a domain has exactly these sections of these SKUs, given by SKU.

        Compares without building sections, at a fraction of the cost. May return False for equal sections that are too
        large for one value.
        """

    @abstractmethod
    async def count(self, domain: str) -> int:
        """The number of sections of a domain."""

    @abstractmethod
    async def layouts(self, after: str, limit: int) -> Sequence[PageLayout]:
        """What up to `limit` SKUs after `after` have, in no order, each SKU in one layout; "" begins.

        The greatest `last` is the next `after`.
        """

    @abstractmethod
    async def publish_layout(
        self, domains: Sequence[str], identity: str, requires: Mapping[str, Collection[str]]
    ) -> None:
        """Stores the order of the sections and what each channel requires, for readers inside the database.

        A no-op if the database cannot serve pages itself, or if nothing changed.
        """


class FoldTransaction(ABC):
    """One transaction that folds a domain. Only it writes this domain's sections meanwhile.

    Starting one raises `LogReplaced` if the log does not prove the checkpoint.
    """

    checkpoint: Checkpoint
    """The checkpoint at the start of the transaction."""

    has_references: bool
    """Whether the domain had ever had references at the start of the transaction."""

    @abstractmethod
    async def write(self, sections: Sequence[SharedSections], *, followed: bool = False) -> int:
        """Stores all sections of the domain of each SKU, and returns for how many SKUs they changed.

        They replace those of the SKU. Each SKU at most once; one without sections is left as it is. SKUs that changed
        are noted for followers of the pages: see `engine.stores.feed_records`. With `followed` they are not: for each
        page that changes there is an event of the domain after the checkpoint, which this transaction moves past it.
        """

    @abstractmethod
    async def sections(self, skus: Collection[str], *, max_bytes: int | None = None) -> list[SharedSections]:
        """The domain's stored sections of these SKUs, by SKU.

        Raises `ReadTooLarge` if they have more than `max_bytes` together.
        """

    @abstractmethod
    async def remove(self, skus: Collection[str]) -> None:
        """Removes the domain's sections of these SKUs, which nothing in the log accounts for. They are noted."""

    @abstractmethod
    async def references(self, streams: Collection[str]) -> list[StoredReference]:
        """The stored references of some streams, in order."""

    @abstractmethod
    async def stated(self, references: Collection[Reference]) -> list[StoredReference]:
        """All statements of these references, in no order."""

    @abstractmethod
    async def change_references(self, removed: Sequence[StoredReference], added: Sequence[StoredReference]) -> None:
        """Removes some references, and stores others. Those that are stored already are left as they are."""

    @abstractmethod
    async def streaks(self) -> dict[str, int]:
        """The domain's streaks of stale events, by source. See `Streak`."""

    @abstractmethod
    async def save_streaks(self, streaks: Mapping[str, int]) -> None:
        """Stores the streaks of some sources; those of others stay."""

    @abstractmethod
    async def add_dead_letters(self, dead_letters: Sequence[NewDeadLetter]) -> None:
        """Adds events to the dead letters, as `DeadLetters.add` does."""

    @abstractmethod
    async def has_dead_letters(self) -> bool:
        """Whether the domain has open dead letters of kind `projection`."""

    @abstractmethod
    async def resolve(self, streams: Collection[str], resolution: Resolution) -> None:
        """Resolves the open dead letters of kind `projection` of these streams."""

    @abstractmethod
    async def advance(self, checkpoint: Checkpoint) -> Checkpoint:
        """Stores the checkpoint, with its counts and fingerprint, and returns it as stored. The holder stays.

        It gets the mark of the event at its position. Raises `LogReplaced` if there is none.
        """


class FewSections(NamedTuple):
    """What a fold of a few SKUs stores: their sections, and the checkpoint after it."""

    sections: Sequence[SharedSections]
    checkpoint: Checkpoint


class FewStored(NamedTuple):
    """The checkpoint as stored, and for how many SKUs the sections changed."""

    checkpoint: Checkpoint
    changed: int


FoldFew: TypeAlias = Callable[[Checkpoint, list[StoredEvent]], FewSections | None]
"""A pure function of the stored checkpoint and the heads of some streams. None if a fold transaction is needed."""

MAX_FEW_BYTES = 1024 * 1024
"""Bytes of the heads that are folded without a fold transaction."""


class Lease(ABC):
    """The right to fold a domain. At most one holder can change anything."""

    holder: str

    @abstractmethod
    async def fold_few(self, streams: Sequence[str], end: int, fold: FoldFew) -> FewStored | None:
        """Reads the heads of a few streams, and stores what `fold` makes of them, with the checkpoint at `end`.

        The same as a fold transaction that does nothing else, with fewer steps. None if that is needed: `fold` has
        returned None, a stream has open dead letters or stored references, the heads may have more than
        `MAX_FEW_BYTES` together, or something has changed meanwhile. Nothing was stored then. `fold` may be called in
        another thread. Raises `LeaseLost`, `LogReplaced`, and what `fold` raises.
        """

    @abstractmethod
    def fold_transaction(self) -> AbstractAsyncContextManager[FoldTransaction]:
        """A transaction under this lease, committed at the end, rolled back on any error. Raises `LeaseLost`."""


class Coordination(ABC):
    """Checkpoints, leases, claims and fold transactions."""

    @abstractmethod
    async def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints of all domains that were ever folded, by name."""

    @abstractmethod
    def lease(self, domain: str, *, wait: bool = True) -> AbstractAsyncContextManager[Lease | None]:
        """The domain's lease. While another live worker has it: waits, or returns None.

        A dead holder is replaced within about a second, a frozen one after the configured `lease_seconds`.
        """

    @abstractmethod
    def fold_transaction(self, domain: str) -> AbstractAsyncContextManager[FoldTransaction]:
        """A transaction beside the domain's lease, for a repair. It waits for the holder's current batch, no longer."""

    @abstractmethod
    async def streaks(self) -> list[Streak]:
        """The streaks of all sources that have one, by domain and source."""

    @abstractmethod
    def claim(self, task: str) -> AbstractAsyncContextManager[bool]:
        """The right to do a named task, held until the block ends or the process dies; False while another has it.

        `task` consists of letters, digits, `.`, `_` and `-`.
        """


class Store(StoreHealth):
    """A log, the pages folded from it, and their coordination. Opened by `pagefold.engine.stores.open_store`."""

    name: str
    """Where it is, without passwords, for messages."""

    log: Log
    pages: Pages
    coordination: Coordination
    dead_letters: DeadLetters
    references: KnownReferences
    records: Records
    tokens: Tokens
    sessions: Sessions
    fields: FieldLedger
    schedule: Schedule
    fetches: Fetches
    deliveries: Deliveries
    delivery_letters: DeliveryLetters
    delivery_targets: DeliveryTargets
    plans: Plans
    kpis: KpiPoints
    alerts: Alerts
    audit: AuditRecords
    proof: Proof
    feed: FeedRecords

    @classmethod
    @abstractmethod
    async def open(cls, config: Config, *, create: bool, killable: bool) -> Self:
        """Opens it, with its schema up to date. See `pagefold.engine.stores.open_store`."""

    @abstractmethod
    async def close(self) -> None:
        """Closes every connection. What is in progress should have ended before."""
