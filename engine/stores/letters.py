"""Dead letters, as stores keep them and give them back, and what they promise about them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec

Kind: TypeAlias = Literal["ingest", "projection"]
KINDS: tuple[Kind, ...] = ("ingest", "projection")

How: TypeAlias = Literal["folded", "appended", "corrected", "discarded"]
"""How a letter ended.

`folded`: its stream can be folded. `appended`: the log says the same by now. `corrected`: an operator put another
content in its place. `discarded`: an operator gave a reason why nothing is to be done. The last two stay: the same
event that fails again tells nothing new.
"""

NOWHERE = "///"
"""What the name of a stream begins with when nothing but the source is known, as of `///shopify`."""

LONGEST_LISTED = 1_000
"""Characters of an error in a list. One may name a field that somebody gave a very long name."""


class NewLetter(NamedTuple):
    """An event to be kept in dead letters, with the reason.

    `state` is as in the log, `recorded_at` as in it. Letters with the same stream, version, revision and `digest` are
    one. Of a delivery that could not be made an event, `domain` is empty, the stream begins with `NOWHERE`, `state` is
    its body as it came, whatever it is, and `headers` a JSON object with those that are worth keeping.
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


class Resolution(NamedTuple):
    """How a letter ended, and when, as fixed-width UTC text.

    `by` is the operator, None where it was nobody's doing; `reason` is why it was discarded; `position` is that of the
    event that corrects it.
    """

    how: How
    at: str
    by: str | None = None
    reason: str | None = None
    position: int | None = None


class ListedLetter(msgspec.Struct, frozen=True):
    """A dead letter without what it says, which may be a megabyte. Of its error, it has `LONGEST_LISTED` characters.

    `recorded_at` is when it came there, or came back, as fixed-width UTC text. It is open while `resolution` is None;
    the fields from there on are those of `Resolution`.
    """

    kind: Kind
    number: int
    domain: str
    originator_id: str
    originator_version: int
    revision: int
    error: str
    recorded_at: str
    resolution: How | None
    resolved_at: str | None
    resolved_by: str | None
    reason: str | None
    position: int | None

    @property
    def id(self) -> str:
        """What operators call it by: `ingest-7`, `projection-12`."""
        return f"{self.kind}-{self.number}"

    @property
    def is_delivery(self) -> bool:
        """Whether it is the body of a request that could not be made an event."""
        return self.originator_id.startswith(NOWHERE)

    @property
    def place(self) -> "Place":
        """Its place among the others."""
        return Place(self.recorded_at, self.kind, self.number)


class DeadLetter(ListedLetter, frozen=True):
    """A dead letter whole, as it is kept for ever, with all of its error."""

    state: bytes
    headers: bytes


class Place(NamedTuple):
    """A place in the order of letters: by when they came, the kinds and numbers of one moment one after the other."""

    recorded_at: str
    kind: str
    number: int


BEFORE_ALL = Place("0001-01-01T00:00:00.000000Z", "", 0)
BEHIND_ALL = Place("9999-12-31T23:59:59.999999Z", "~", 0)


class Wanted(NamedTuple):
    """Which letters: of this kind, this domain, this source, or of any; open ones, or resolved ones."""

    kind: Kind | None = None
    domain: str | None = None
    source: str | None = None
    resolved: bool = False


OPEN = Wanted()


class DeadLetters(ABC):
    """Events that need a person, and what became of them. A letter is resolved, never deleted."""

    @abstractmethod
    async def keep(self, letters: Sequence[NewLetter]) -> None:
        """Keeps events of kind `ingest`, durably.

        One whose content is kept at this version already is not kept twice: it keeps its number and gets the new
        reason. Where it was resolved by itself, it is open again, and came just now; what an operator decided stays.
        """

    @abstractmethod
    async def newest(self, wanted: Wanted = OPEN, *, after: Place = BEHIND_ALL, limit: int = 100) -> list[ListedLetter]:
        """The next letters behind a place, `limit` at most, the newest first. What they say is not even read."""

    @abstractmethod
    async def oldest(self, wanted: Wanted = OPEN, *, after: Place = BEFORE_ALL, limit: int = 100) -> list[ListedLetter]:
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
    async def count(self, wanted: Wanted = OPEN) -> int:
        """How many there are."""

    @abstractmethod
    async def counts(self) -> Mapping[tuple[Kind, str], int]:
        """How many open ones there are, by kind and domain. Deliveries have the domain ""."""
