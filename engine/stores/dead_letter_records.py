"""Dead letters as stores keep and return them, and the contract for them."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import msgspec

from pagefold.engine.events import Reference
from pagefold.engine.stores.dead_letter_causes import MAX_ERROR_CHARACTERS, cause_key, cause_text, source_of

Kind: TypeAlias = Literal["ingest", "projection", "waiting", "delivery"]
KINDS: tuple[Kind, ...] = ("ingest", "projection", "waiting", "delivery")
"""Those of kind `delivery` are rows of the deliveries, see `pagefold.engine.stores.delivery_letters`."""

ResolutionKind: TypeAlias = Literal[
    "folded", "appended", "ignored", "moved", "wanted", "corrected", "queued", "discarded"
]
"""How a dead letter was resolved.

`folded`: its stream can be folded. `appended`: the log now has the same content. `ignored`: the configuration no longer
asks for it. `moved`: it is a dead letter of another kind now. `wanted`: its record is fetched again. `corrected`: an
operator replaced its content. `queued`: a delivery waits to be sent again, or was sent since. `discarded`: an operator
decided, with a reason, to do nothing. Events that were corrected or discarded stay resolved if they fail again.
"""

Via: TypeAlias = Literal["", "webhook", "cdc", "cloudevents", "snapshot", "delta", "fetch"]
"""The entrance of a request; empty if the dead letter is an event.

`delta` is a notification, `fetch` a record that was fetched.
"""

Sort: TypeAlias = Literal["request", "conflict", "projection", "waiting"]
SORTS: tuple[Sort, ...] = ("request", "conflict", "projection", "waiting")
"""What a dead letter is: of kind `ingest`, a part of a request or an event; of kind `projection`, an event.

Of kind `waiting`, a part of a request.
"""

REQUEST_PREFIX = "///"
"""The start of a stream name of which only the source is known, as in `///shopify`."""

MAX_LISTED = MAX_ERROR_CHARACTERS
"""Characters of an error in a list. An error may quote a very long field name."""

MAX_COUNTED = 10_000
"""Dead letters of a cause that are counted; if there are more, their number is one larger."""

MAX_CAUSES = 1_000
"""Causes that are listed."""


class NewDeadLetter(NamedTuple):
    """An event to be added to the dead letters, with the reason.

    `state` and `recorded_at` are as in the log. Dead letters with the same stream, version, revision and `digest` are
    one.

    For a request, or a part of one, that could not be turned into an event: `domain` is empty, `state` is the body as
    received, `headers` a JSON object with the headers worth keeping, and `via` the entrance. If its stream is unknown,
    the stream name begins with `REQUEST_PREFIX` and the version is 0.

    Of kind `waiting`: a request, or a part of one, with the domain and the version of its first statement that waits,
    and the `reference` under which no SKU is known; `FOLD` if it waits until the log is folded.
    """

    kind: Kind
    domain: str
    originator_id: str
    originator_version: int
    revision: int
    digest: bytes
    error: str
    state: bytes
    recorded_at: str
    headers: bytes = b"{}"
    via: Via = ""
    reference: Reference | None = None


def dead_letter_values(dead_letter: NewDeadLetter) -> tuple[object, ...]:
    """The values of a row, in the order of the fields; a reference is its kind and its id. The last is its cause."""
    *values, reference = dead_letter
    cause = cause_key(dead_letter.kind, dead_letter.domain, dead_letter.originator_id, dead_letter.error)
    return (*values, *(reference or (None, None)), cause)


def assigned_cause(row: Sequence[Any]) -> tuple[str, int]:
    """The cause of a dead letter that has none, and its number: of its kind, number, domain, stream and error."""
    kind, number, domain, originator_id, error = row
    return cause_key(kind, domain, originator_id, error), number


FOLD = Reference("", "")
"""In place of a reference: it waits until what was in the log is folded."""


class WaitingKey(NamedTuple):
    """The place of a dead letter that waits: by reference, then by version, then by arrival."""

    reference: Reference
    version: int
    number: int


FIRST_WAITING = WaitingKey(Reference("", ""), -1, 0)


class WaitingState(NamedTuple):
    """How many dead letters wait and still have their bodies, and the number of the newest, 0 if there is none."""

    letters: int
    newest: int


class RecentLetters(NamedTuple):
    """How many requests could not be turned into events, events are conflicts, and events could not be folded."""

    requests: int
    conflicts: int
    projections: int

    @classmethod
    def of(cls, rows: Iterable[tuple[str, int]]) -> Self:
        """The sum of counts by kind, where requests are a kind of their own."""
        counts = Counter[str]()
        for kind, number in rows:
            counts[kind] += number
        return cls(counts["request"], counts["ingest"], counts["projection"])


class Purge(NamedTuple):
    """The removal of bodies: when, as fixed-width UTC text, and by whom. `error` replaces each error text."""

    error: str
    at: str
    by: str


class Expiry(NamedTuple):
    """Dead letters that still have their bodies: of a sort, open or resolved, since before a timestamp."""

    sort: Sort
    resolved: bool
    before: str


class Resolution(NamedTuple):
    """How a dead letter was resolved, and when, as fixed-width UTC text.

    `by` is the operator, None if it was resolved automatically; `reason` is why it was discarded; `position` is that of
    the event that corrects it.
    """

    how: ResolutionKind
    at: str
    by: str | None = None
    reason: str | None = None
    position: int | None = None


class DeadLetterHeader(msgspec.Struct, frozen=True):
    """A dead letter without its body, which may be a megabyte, and with at most `MAX_LISTED` characters of its error.

    `recorded_at` is when it was added or reopened, as fixed-width UTC text. It is open while `resolution` is None; the
    fields from there on are those of `Resolution`. `purged_at` and `purged_by` say when its body was removed, and by
    whom; None while the body is kept. `cause` is the key of its cause, see `cause_key`; empty if an older program added
    it.
    """

    kind: Kind
    number: int
    domain: str
    originator_id: str
    originator_version: int
    revision: int
    error: str
    recorded_at: str
    resolution: ResolutionKind | None
    resolved_at: str | None
    resolved_by: str | None
    reason: str | None
    position: int | None
    via: Via
    purged_at: str | None
    purged_by: str | None
    cause: str

    @property
    def id(self) -> str:
        """Its identifier for operators: `ingest-7`, `projection-12`."""
        return f"{self.kind}-{self.number}"

    @property
    def is_request(self) -> bool:
        """Whether it is the body of a request, or a part of one, that could not be turned into an event."""
        return (not self.domain and not self.is_delivery) or self.kind == "waiting"

    @property
    def is_delivery(self) -> bool:
        """Whether it is a page that a target has refused; the target is in the place of its source."""
        return self.kind == "delivery"

    @property
    def has_stream(self) -> bool:
        """Whether its stream in the log is known."""
        return not self.originator_id.startswith(REQUEST_PREFIX)

    @property
    def source(self) -> str:
        """The source that sent it."""
        return source_of(self.originator_id)

    @property
    def key(self) -> "DeadLetterKey":
        """Its place in the order of dead letters."""
        return DeadLetterKey(self.recorded_at, self.kind, self.number)


class DeadLetter(DeadLetterHeader, frozen=True):
    """A complete dead letter, with its whole error. After its body was removed, `state` is empty."""

    state: bytes
    headers: bytes


class DeadLetterKey(NamedTuple):
    """A place in the order of dead letters: by time of arrival, then by kind and number."""

    recorded_at: str
    kind: str
    number: int


FIRST_KEY = DeadLetterKey("0001-01-01T00:00:00.000000Z", "", 0)
LAST_KEY = DeadLetterKey("9999-12-31T23:59:59.999999Z", "~", 0)


class DeadLetterFilter(NamedTuple):
    """Selects dead letters by kind, domain, source and cause, where None is any; open ones, or resolved ones."""

    kind: Kind | None = None
    domain: str | None = None
    source: str | None = None
    resolved: bool = False
    cause: str | None = None

    @property
    def is_open_of_domain(self) -> bool:
        """Whether it selects open ones of a kind and a domain, whatever their cause: an index begins with these."""
        return not (self.resolved or self.cause or self.kind is None or self.domain is None)


OPEN = DeadLetterFilter()


class DeadLetterCause(NamedTuple):
    """A cause, with its open dead letters.

    `key` is that of `cause_key`; empty for those that an older program added. `letters` is at most `MAX_COUNTED + 1`.
    `first` and `last` are when the oldest and the newest of them was added or reopened, as fixed-width UTC text. Kind,
    domain, stream and error, at most `MAX_LISTED` characters of it, are those of the newest, as is the `number`.
    """

    key: str
    letters: int
    first: str
    last: str
    kind: Kind
    number: int
    domain: str
    originator_id: str
    error: str

    @property
    def source(self) -> str:
        """The source that sent them."""
        return source_of(self.originator_id)

    @property
    def text(self) -> str:
        """What is wrong, without values."""
        return cause_text(self.error, self.originator_id, self.kind)

    @property
    def newest(self) -> str:
        """The id of the newest."""
        return f"{self.kind}-{self.number}"


class DeadLetters(ABC):
    """Events that need a person, and how they were resolved.

    A dead letter is resolved and, in time, emptied; never deleted.
    """

    @abstractmethod
    async def add(self, dead_letters: Sequence[NewDeadLetter]) -> None:
        """Adds events of kind `ingest` or `waiting`, durably.

        If the same content is stored at this version already, that dead letter keeps its number and gets the new
        reason. If it was resolved automatically, it is reopened with the current time; an operator's decision stays.
        """

    @abstractmethod
    async def newest(
        self, selection: DeadLetterFilter = OPEN, *, after: DeadLetterKey = LAST_KEY, limit: int = 100
    ) -> list[DeadLetterHeader]:
        """The next dead letters after a key, at most `limit`, newest first. Bodies are not read."""

    @abstractmethod
    async def oldest(
        self, selection: DeadLetterFilter = OPEN, *, after: DeadLetterKey = FIRST_KEY, limit: int = 100
    ) -> list[DeadLetterHeader]:
        """The next dead letters after a key, at most `limit`, oldest first. Bodies are not read."""

    @abstractmethod
    async def get(self, kind: Kind, number: int) -> DeadLetter | None:
        """One complete dead letter, open or resolved."""

    @abstractmethod
    async def resolve(self, kind: Kind, number: int, resolution: Resolution) -> bool:
        """Resolves a dead letter, durably. False if there is none, or if an operator resolved it before.

        An operator may still resolve one that was resolved automatically.
        """

    @abstractmethod
    async def resolve_open(self, dead_letters: Sequence[DeadLetterHeader], resolution: Resolution) -> set[str]:
        """Resolves those of some dead letters that are open, durably; returns their ids."""

    @abstractmethod
    async def count(self, selection: DeadLetterFilter = OPEN) -> int:
        """Counts dead letters."""

    @abstractmethod
    async def counts(self) -> Mapping[tuple[Kind, str], int]:
        """The number of open dead letters by kind and domain. Requests have the domain ""."""

    @abstractmethod
    async def causes(self, limit: int = MAX_CAUSES) -> list[DeadLetterCause]:
        """The causes that have open dead letters, by key, at most `limit`; the empty key is the first."""

    @abstractmethod
    async def cause_history(self, key: str, since: str) -> list[tuple[str, int]]:
        """How many open dead letters of a cause were added or reopened since a moment, at most `MAX_COUNTED`.

        By ten minutes: the first 15 characters of their moment, such as `2026-01-01T12:3`, in order.
        """

    @abstractmethod
    async def assign_causes(self, limit: int = 500) -> int:
        """Stores the causes of open dead letters that an older program added, at most `limit`; returns how many."""

    @abstractmethod
    async def count_recent(self, since: str, limit: int) -> RecentLetters:
        """Those that were added since a time: of a table, up to `limit` open and as many resolved ones."""

    @abstractmethod
    async def requests_of(self, streams: Sequence[str]) -> list[tuple[str, int]]:
        """The versions of these streams at which there are open requests that could not be turned into events."""

    @abstractmethod
    async def of_sku(self, sku: str, domains: Collection[str], limit: int) -> list[DeadLetterHeader]:
        """The newest open dead letters whose stream is one of a SKU (encoded as in the log). Bodies are not read.

        `domains` are those that count; requests have the domain "".
        """

    @abstractmethod
    async def waiting(self, after: WaitingKey = FIRST_WAITING, limit: int = 500) -> list[WaitingKey]:
        """The next open dead letters that wait and have their bodies, in order."""

    @abstractmethod
    async def wait_for(self, dead_letter: DeadLetterHeader, reference: Reference, error: str) -> None:
        """Lets an open dead letter of kind `waiting` wait for another reference, for this reason, durably."""

    @abstractmethod
    async def waiting_state(self) -> WaitingState:
        """Whether anything waits: what changes when another dead letter does."""

    @abstractmethod
    async def awaited(self, references: Collection[Reference]) -> set[Reference]:
        """Those of some references under which something waits."""

    @abstractmethod
    async def purge(self, expiry: Expiry, purge: Purge, *, limit: int, size: int) -> int:
        """Removes the bodies of expired dead letters, durably: of the oldest, at most `limit` and about `size` bytes.

        Returns how many; 0 if there are no more, or if another process holds the rest. The dead letters stay. One that
        is added again gets its body back.
        """

    @abstractmethod
    async def purge_one(self, kind: Kind, number: int, purge: Purge) -> bool:
        """Removes the body of a dead letter, durably. False if there is none, or if it was removed before."""

    @abstractmethod
    async def count_expired(self, expiry: Expiry) -> int:
        """Counts the dead letters whose bodies `purge` would remove."""

    @abstractmethod
    async def count_purged(self, kind: Kind) -> int:
        """Counts the open dead letters without a body."""
