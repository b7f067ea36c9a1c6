"""Dead letters, as stores keep them and give them back, and what they promise about them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from pagefold.projections.streams import decode_part

Kind: TypeAlias = Literal["ingest", "projection"]
KINDS: tuple[Kind, ...] = ("ingest", "projection")

ResolutionKind: TypeAlias = Literal["folded", "appended", "ignored", "corrected", "discarded"]
"""How a letter ended.

`folded`: its stream can be folded. `appended`: the log says the same by now. `ignored`: the configuration no longer
asks for what it says. `corrected`: an operator put another content in its place. `discarded`: an operator gave a reason
why nothing is to be done. The last two stay: the same event that fails again tells nothing new.
"""

Via: TypeAlias = Literal["", "webhook", "cdc"]
"""By which entrance a request came; empty where the letter is an event."""

Sort: TypeAlias = Literal["request", "conflict", "projection"]
SORTS: tuple[Sort, ...] = ("request", "conflict", "projection")
"""What a letter is: of kind `ingest`, a part of a request or an event; of kind `projection`, an event."""

REQUEST_PREFIX = "///"
"""What the name of a stream begins with when nothing but the source is known, as of `///shopify`."""

MAX_LISTED = 1_000
"""Characters of an error in a list. One may name a field that somebody gave a very long name."""


class NewDeadLetter(NamedTuple):
    """An event to be kept in dead letters, with the reason.

    `state` is as in the log, `recorded_at` as in it. Letters with the same stream, version, revision and `digest` are
    one. Of a delivery, or a part of one, that could not be made an event, `domain` is empty, `state` is its body as it
    came, whatever it is, `headers` a JSON object with those that are worth keeping, and `via` how it came; where its
    stream cannot be told, the stream begins with `REQUEST_PREFIX`, and the version is 0.
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


class Purge(NamedTuple):
    """That bodies are removed: when, as fixed-width UTC text, and by whom. `error` takes the place of each error."""

    error: str
    at: str
    by: str


class Expiry(NamedTuple):
    """Letters that still have their bodies: of a sort, open or resolved, and that since before a moment."""

    sort: Sort
    resolved: bool
    before: str


class Resolution(NamedTuple):
    """How a letter ended, and when, as fixed-width UTC text.

    `by` is the operator, None where it was nobody's doing; `reason` is why it was discarded; `position` is that of the
    event that corrects it.
    """

    how: ResolutionKind
    at: str
    by: str | None = None
    reason: str | None = None
    position: int | None = None


class DeadLetterHeader(msgspec.Struct, frozen=True):
    """A dead letter without what it says, which may be a megabyte. Of its error, it has `MAX_LISTED` characters.

    `recorded_at` is when it came there, or came back, as fixed-width UTC text. It is open while `resolution` is None;
    the fields from there on are those of `Resolution`. `purged_at` and `purged_by` tell when what it said was removed,
    and by whom; None while it is there.
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

    @property
    def id(self) -> str:
        """What operators call it by: `ingest-7`, `projection-12`."""
        return f"{self.kind}-{self.number}"

    @property
    def is_request(self) -> bool:
        """Whether it is the body of a request, or a part of one, that could not be made an event."""
        return not self.domain

    @property
    def has_stream(self) -> bool:
        """Whether it is known where in the log it belongs."""
        return not self.originator_id.startswith(REQUEST_PREFIX)

    @property
    def source(self) -> str:
        """The source that said it."""
        return decode_part(self.originator_id.rpartition("/")[2])

    @property
    def key(self) -> "DeadLetterKey":
        """Its place among the others."""
        return DeadLetterKey(self.recorded_at, self.kind, self.number)


class DeadLetter(DeadLetterHeader, frozen=True):
    """A dead letter whole, with all of its error. When what it said was removed, there is none of it."""

    state: bytes
    headers: bytes


class DeadLetterKey(NamedTuple):
    """A place in the order of letters: by when they came, the kinds and numbers of one moment one after the other."""

    recorded_at: str
    kind: str
    number: int


FIRST_KEY = DeadLetterKey("0001-01-01T00:00:00.000000Z", "", 0)
LAST_KEY = DeadLetterKey("9999-12-31T23:59:59.999999Z", "~", 0)


class DeadLetterFilter(NamedTuple):
    """Which letters: of this kind, this domain, this source, or of any; open ones, or resolved ones."""

    kind: Kind | None = None
    domain: str | None = None
    source: str | None = None
    resolved: bool = False


OPEN = DeadLetterFilter()


class DeadLetters(ABC):
    """Events that need a person, and what became of them. A letter is resolved and, in time, emptied; never deleted."""

    @abstractmethod
    async def add(self, letters: Sequence[NewDeadLetter]) -> None:
        """Keeps events of kind `ingest`, durably.

        One whose content is kept at this version already is not kept twice: it keeps its number and gets the new
        reason. Where it was resolved by itself, it is open again, and came just now; what an operator decided stays.
        """

    @abstractmethod
    async def newest(
        self, wanted: DeadLetterFilter = OPEN, *, after: DeadLetterKey = LAST_KEY, limit: int = 100
    ) -> list[DeadLetterHeader]:
        """The next letters behind a place, `limit` at most, the newest first. What they say is not even read."""

    @abstractmethod
    async def oldest(
        self, wanted: DeadLetterFilter = OPEN, *, after: DeadLetterKey = FIRST_KEY, limit: int = 100
    ) -> list[DeadLetterHeader]:
        """The next letters behind a place, `limit` at most, the oldest first, likewise."""

    @abstractmethod
    async def get(self, kind: Kind, number: int) -> DeadLetter | None:
        """One of them, open or resolved, whole."""

    @abstractmethod
    async def resolve(self, kind: Kind, number: int, resolution: Resolution) -> bool:
        """Resolves one of them, durably; False when there is none, or an operator decided it before.

        An operator may still decide what was resolved by itself.
        """

    @abstractmethod
    async def count(self, wanted: DeadLetterFilter = OPEN) -> int:
        """How many there are."""

    @abstractmethod
    async def counts(self) -> Mapping[tuple[Kind, str], int]:
        """How many open ones there are, by kind and domain. Deliveries have the domain ""."""

    @abstractmethod
    async def requests_of(self, streams: Sequence[str]) -> list[tuple[str, int]]:
        """At which versions of these streams there are open requests of which no event could be made."""

    @abstractmethod
    async def purge(self, expiry: Expiry, purge: Purge, *, limit: int, size: int) -> int:
        """Removes what expired letters say, durably: of the oldest, `limit` at most, and until it is `size` bytes.

        Gives how many; 0 when there are no more, or somebody else is at those that there are. The letters stay. One
        that is kept again has what it said again.
        """

    @abstractmethod
    async def purge_one(self, kind: Kind, number: int, purge: Purge) -> bool:
        """Removes what one of them says, durably; False when there is none, or that was removed before."""

    @abstractmethod
    async def count_expired(self, expiry: Expiry) -> int:
        """How many there are of which `purge` would remove what they say."""

    @abstractmethod
    async def count_purged(self, kind: Kind) -> int:
        """How many open ones no longer have what they said."""
