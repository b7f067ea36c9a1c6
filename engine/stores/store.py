"""The contract of a store: what the log, the pages, the consumers' transactions, dead letters and tokens promise.

`engine.stores.sqlite` and `engine.stores.postgres` keep it, file by file; one suite of tests runs against both.

Every method may raise `StoreUnavailable`, after which nothing is known of what was under way: every write here can be
repeated. None of them answers a failure with an empty result.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, Self, TypeAlias, TypeVar

import msgspec

from pagefold.engine.configuration.config import Config
from pagefold.engine.stores.dead_letter_records import DeadLetters, NewDeadLetter, Resolution
from pagefold.engine.stores.epoch_fence import Fence
from pagefold.engine.stores.log_proof import Proof
from pagefold.engine.stores.page_listing import ListedPage
from pagefold.engine.stores.store_health import StoreHealth
from pagefold.engine.stores.token_records import Tokens
from pagefold.projections.section_fold import Section, SharedSections
from pagefold.projections.splicer import StoredSection

Made = TypeVar("Made")
"""What a reader makes of a page's rows."""


class NewEvent(Protocol):
    """What `Log.insert` needs of an event."""

    @property
    def originator_id(self) -> str:
        """Its stream."""

    @property
    def originator_version(self) -> int:
        """Its version in the stream."""

    @property
    def topic(self) -> str:
        """Its domain, or the topic that an application gave it."""

    @property
    def state(self) -> bytes:
        """What it says."""


class CorrectionEvent(msgspec.Struct, frozen=True, gc=False):
    """An event for a version that has one already: it takes the place of the head of its version, as `revision`."""

    originator_id: str
    originator_version: int
    revision: int
    topic: str
    state: bytes


class StoredEvent(NamedTuple):
    """A row of the log. (originator_id, originator_version, revision) is unique, and so is notification_id."""

    notification_id: int
    originator_id: str
    originator_version: int
    revision: int
    topic: str
    state: bytes


event_of: Callable[[Iterable[Any]], StoredEvent] = partial(tuple.__new__, StoredEvent)
"""The event in a row, for a third of the time that `_make` takes."""


class TouchedStreams(NamedTuple):
    """A window of the log, as one domain sees it.

    `streams` are the domain's distinct streams in it, sorted; `events` how many events of the domain it holds;
    `scanned` how many of any topic; `end` the position it ends at, which is the position asked for when the window is
    empty; `bytes` how large the states of the domain's events are together.
    """

    streams: list[str]
    events: int
    scanned: int
    end: int
    bytes: int


class ScannedHeads(NamedTuple):
    """A step of a walk through the streams of the log.

    `heads` are those of the streams that were asked for, by name; `end` is the name of the last stream that was looked
    at, None when there are no more.
    """

    heads: list[StoredEvent]
    end: str | None


class HeadContents(NamedTuple):
    """A step of a walk through the streams of the log: their entries, in order, and `end` as in `ScannedHeads`."""

    contents: list[bytes]
    end: str | None


SEPARATOR = b"\x1f"
"""Stands between the parts of an entry."""


class Streak(NamedTuple):
    """How many events of a source were overtaken before they came, in a row, with none that was news between them.

    Of a source that looks reset, since then, until somebody answers: see `pagefold.engine.folding.source_resets`.
    Late deliveries are not counted: only what occurred no earlier than the newer version that stands.
    """

    domain: str
    source: str
    stale: int


class Checkpoint(NamedTuple):
    """How far a domain has been folded, and what became of the events up to there.

    `applied + stale + dead` is the exact number of the domain's events up to `position`: folded as the head of their
    stream, overtaken by a newer version before they were folded, or impossible to fold. `fingerprint` is that of the
    configuration that folded first; `holder` names the worker that folds now, or did last; `mark` is that of the event
    at `position`: see `pagefold.engine.stores.log_proof`.
    """

    domain: str
    position: int = 0
    applied: int = 0
    stale: int = 0
    dead: int = 0
    fingerprint: str | None = None
    holder: str | None = None
    mark: bytes | None = None


class Lag(NamedTuple):
    """What a domain has not folded yet: how many events, and the `state` of the oldest, or None when there is none."""

    events: int
    oldest: bytes | None


class Log(ABC):
    """The events, append-only, in the order of their positions, which become visible in ascending order.

    What appends raises `LogReplaced` where the log is not the one that was folded: see `engine.stores.log_proof`.
    """

    @abstractmethod
    async def insert(self, events: Sequence[NewEvent], fence: Fence | None = None) -> list[int | None]:
        """Appends, durably and in one transaction, the events whose (stream, version) is not taken yet.

        For each, in order: its position, or None when its version was taken, be it by an earlier one of these. Raises
        `EpochsMoved` where the fence does not hold in that transaction.
        """

    @abstractmethod
    async def correct(self, corrections: Sequence[CorrectionEvent], fence: Fence | None = None) -> list[int | None]:
        """As `insert`, the corrections whose (stream, version, revision) is not taken yet."""

    @abstractmethod
    async def generation(self) -> int:
        """How many events the stream `EPOCHS` has."""

    @abstractmethod
    async def newest_versions(self, streams: Collection[str]) -> dict[str, int]:
        """The highest version of each stream that has one."""

    @abstractmethod
    async def events_at(self, versions: Collection[tuple[str, int]]) -> list[StoredEvent]:
        """The events at these (stream, version), every revision, in no order."""

    @abstractmethod
    async def end(self) -> int:
        """The position of the newest event, 0 when there is none."""

    @abstractmethod
    async def touched(self, domain: str, after: int, limit: int) -> TouchedStreams:
        """What of a domain stands in the next `limit` events of the log behind `after`."""

    @abstractmethod
    async def heads(self, streams: Sequence[str], *, max_bytes: int | None = None) -> list[StoredEvent]:
        """The event with the highest (version, revision) of each stream that has one, in no order.

        Raises `ReadTooLarge` where their states have more than `max_bytes` together.
        """

    @abstractmethod
    async def older_events(self, event: StoredEvent, limit: int) -> list[StoredEvent]:
        """The newest events of the same stream that are older than this one by (version, revision), newest first."""

    @abstractmethod
    def history(self, prefix: str, after: tuple[str, int, int] | None = None) -> AsyncIterator[StoredEvent]:
        """Every event of the streams that begin with `prefix`, by (stream, version, revision). Read in bounded steps.

        Those behind `after` alone, where it is given.
        """

    @abstractmethod
    async def scan(
        self, suffixes: Collection[str], *, after: str, below: str, limit: int, max_bytes: int
    ) -> ScannedHeads:
        """Looks at the next streams by name with after < name < below, `limit` at most, and gives the heads of some.

        Those whose name ends in one of `suffixes`, such as `/pricing/erp`. The states of their heads have no more than
        `max_bytes` together, unless they are of one stream: where they and that of the next one have more than half of
        it, it may look at fewer streams, but at one at least. "" begins; "" as `below` is no bound.
        """

    @abstractmethod
    async def head_contents(
        self, suffixes: Collection[str], *, after: str, below: str, limit: int, max_bytes: int, since: int
    ) -> HeadContents:
        """As `scan`, but gives only what the heads say: stream, version, and the end of the state from `"payload":` on.

        Of a domain event, that is what `event_state.head_content` gives. They sort as their streams do. One whose event
        stands behind the position `since` equals none of those.
        """

    @abstractmethod
    async def skus(self, after: str, limit: int) -> list[str]:
        """The next SKUs that have streams, as they are written in the log, in the order of their streams. "" begins.

        So `A-1` comes before `A`: its streams do. Streams without a slash, as applications have, are of no SKU.
        """

    @abstractmethod
    async def window(self, domain: str, after: int, upto: int) -> list[StoredEvent]:
        """The events of a domain with after < position <= upto, in order."""

    @abstractmethod
    async def untouched(self, streams: Collection[str], since: int) -> set[str]:
        """Those of the streams that have no event behind a position."""

    @abstractmethod
    async def lag(self, domain: str, after: int) -> Lag:
        """What the log holds of a domain behind a position."""

    @abstractmethod
    async def wait(self, after: int, seconds: float) -> None:
        """Returns when the log has grown past `after`, or may have, or when the time is over."""


class Pages(ABC):
    """The sections, as readers see them: always whole, never an older state than before."""

    @abstractmethod
    async def sections(self, sku: str, channel: str) -> Sequence[StoredSection]:
        """The rows of one page, sorted by domain.

        Domain, enabled, ready, versions, body, occurred_at. Empty when none.
        """

    @abstractmethod
    def sync_reader(
        self, make: Callable[[str, str, Sequence[StoredSection]], Made]
    ) -> Callable[[str, str], Made] | None:
        """Reads that wait for nobody: a function that gives what `make` makes of SKU, channel and the rows as they are.

        What was made may be given again while no page has changed; `make` has to give the same for the same.
        None where a read can only be waited for.
        """

    @abstractmethod
    async def sections_of(
        self, skus: Sequence[str], channel: str, *, max_bytes: int | None = None
    ) -> Mapping[str, Sequence[StoredSection]]:
        """The rows of the pages of several SKUs in a channel, as `sections` has them, of those that have any.

        Raises `ReadTooLarge` where they have more than `max_bytes` together.
        """

    @abstractmethod
    async def list_pages(self, channel: str, after: str, limit: int) -> list[ListedPage]:
        """How the pages of the next SKUs stand in a channel, by SKU. "" begins. SKUs without one there count too."""

    @abstractmethod
    def keys(self) -> AsyncIterator[tuple[str, str]]:
        """(sku, channel) of every page that there is, by sku and channel. Read in pages."""

    @abstractmethod
    async def skus(self, domain: str, after: str, limit: int) -> list[str]:
        """The next SKUs that have a section of a domain, by name. "" begins."""

    @abstractmethod
    async def matches(self, domain: str, sections: Sequence[SharedSections], skus: Collection[str]) -> bool:
        """Whether a domain has exactly these sections of these SKUs, given by SKU.

        No sections are made of what stands there, so it costs a fraction of that. It may be False all the same: where
        they are too much for one value.
        """

    @abstractmethod
    async def count(self, domain: str) -> int:
        """How many sections of a domain there are."""

    @abstractmethod
    async def counts(self) -> Mapping[tuple[str, str], tuple[int, int]]:
        """By (channel, domain): how many sections there are, and how many of them are ready."""

    @abstractmethod
    async def publish_layout(
        self, domains: Sequence[str], identity: str, requires: Mapping[str, Collection[str]]
    ) -> None:
        """Tells readers inside the database the order of the sections and what each channel requires.

        A no-op where the database cannot serve pages by itself, or when it knows already.
        """


class FoldTransaction(ABC):
    """One transaction that folds a domain. While it lasts, nobody else writes this domain's sections.

    To begin one raises `LogReplaced` when the log does not prove the checkpoint.
    """

    checkpoint: Checkpoint
    """As it was when the transaction began."""

    @abstractmethod
    async def write(self, sections: Sequence[Section]) -> int:
        """Puts the sections in place and tells how many of them differ from what stood there. Each key at most once."""

    @abstractmethod
    async def sections(self, skus: Collection[str], *, max_bytes: int | None = None) -> list[Section]:
        """The domain's sections of these SKUs, as they stand, by (sku, channel).

        Raises `ReadTooLarge` where they have more than `max_bytes` together.
        """

    @abstractmethod
    async def remove(self, keys: Collection[tuple[str, str]]) -> None:
        """Takes away the domain's sections of these (sku, channel): those that nothing in the log accounts for."""

    @abstractmethod
    async def streaks(self) -> dict[str, int]:
        """By source, the domain's streak of stale events, of those that have one. See `Streak`."""

    @abstractmethod
    async def save_streaks(self, streaks: Mapping[str, int]) -> None:
        """Remembers the streaks of some sources; those of others stay as they are."""

    @abstractmethod
    async def add_dead_letters(self, letters: Sequence[NewDeadLetter]) -> None:
        """Keeps events in dead letters, as `DeadLetters.add` does."""

    @abstractmethod
    async def has_dead_letters(self) -> bool:
        """Whether any event of the domain is in open dead letters of kind `projection`."""

    @abstractmethod
    async def resolve(self, streams: Collection[str], resolution: Resolution) -> None:
        """Resolves the open dead letters of kind `projection` of these streams."""

    @abstractmethod
    async def advance(self, checkpoint: Checkpoint) -> Checkpoint:
        """Moves the checkpoint, with its counts and fingerprint, and gives it as it is then. The holder stays.

        It is given the mark of the event at its position. Raises `LogReplaced` when none stands there.
        """


class Lease(ABC):
    """The right to fold a domain. There is at most one that can change anything."""

    holder: str

    @abstractmethod
    def fold_transaction(self) -> AbstractAsyncContextManager[FoldTransaction]:
        """A transaction under this lease, committed at the end, rolled back on any error. Raises `LeaseLost`."""


class Coordination(ABC):
    """Checkpoints, leases and the transactions that fold."""

    @abstractmethod
    async def checkpoints(self) -> list[Checkpoint]:
        """Those of all domains that were ever folded, by name."""

    @abstractmethod
    def lease(self, domain: str, *, wait: bool = True) -> AbstractAsyncContextManager[Lease | None]:
        """The domain's lease. While another worker lives and has it: waits, or gives None.

        A holder that died is replaced within a second or so; one that is frozen, after the configured `lease_seconds`.
        """

    @abstractmethod
    def fold_transaction(self, domain: str) -> AbstractAsyncContextManager[FoldTransaction]:
        """A transaction beside the domain's lease, for a repair: it waits for the holder's current batch, no longer."""

    @abstractmethod
    async def streaks(self) -> list[Streak]:
        """The streaks of all sources that have one, by domain and source."""

    @abstractmethod
    def claim(self, task: str) -> AbstractAsyncContextManager[bool]:
        """The right to do a named task, held until the block ends or the process dies; False while another has it.

        `task` is of letters, digits, `.`, `_` and `-`.
        """


RecordTable: TypeAlias = Literal["stored_events", "stored_snapshots"]


class Records(ABC):
    """The log as the `eventsourcing` library sees it: raw events of any topic, snapshots, tracking."""

    @abstractmethod
    async def insert(
        self, table: RecordTable, events: Sequence[NewEvent], tracking: tuple[str, int] | None
    ) -> list[int]:
        """Inserts all of the events and moves the tracking position, or nothing. Gives positions, [] for snapshots.

        Raises `AlreadyRecorded` when a version is taken, or when tracking would not move forward.
        """

    @abstractmethod
    async def select(
        self, table: RecordTable, originator_id: str, *, after: int, upto: int, descending: bool, limit: int
    ) -> list[StoredEvent]:
        """Events of one stream with after < version <= upto, by (version, revision). A snapshot has no position: 0."""

    @abstractmethod
    async def notifications(self, start: int, stop: int, topics: Sequence[str], limit: int) -> list[StoredEvent]:
        """Events with start <= position <= stop, of these topics or of any when there are none, in order."""

    @abstractmethod
    async def tracked(self, application: str) -> int | None:
        """How far a downstream application has come, None when it has not begun."""


class Store(StoreHealth):
    """A log, the pages folded from it, and what stands between them. Opened by `pagefold.engine.stores.open_store`."""

    name: str
    """Where it is, without passwords: for people."""

    log: Log
    pages: Pages
    coordination: Coordination
    dead_letters: DeadLetters
    records: Records
    tokens: Tokens
    proof: Proof

    @classmethod
    @abstractmethod
    async def open(cls, config: Config, *, create: bool, killable: bool) -> Self:
        """Opens it, its schema up to date. See `pagefold.engine.stores.open_store`."""

    @abstractmethod
    async def close(self) -> None:
        """Gives every connection back. What is under way should have ended before."""
