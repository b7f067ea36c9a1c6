"""Deliveries as stores keep and return them, and the contract for them. Both stores keep it.

One row a (target, page): what the target is to get, and what it has acknowledged. A page's row is *current* if the
target has acknowledged what is wanted. A tag names the exact bytes of a document; the tag of a withdrawal is empty.
What the target holds is not known (`UNKNOWN`) after a send without an answer, a lost claim, or a reset.

Moments are fixed-width UTC text, by the clock of the store: on PostgreSQL the server's, whatever the clocks of the
workers say. Delays and leases are given in seconds. A claim counts from the moment at which it was asked for, so that
its holder's own clock runs ahead of the store's, never behind.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from pagefold.domains.values import format_timestamp

UNKNOWN: Final = "?"
"""The acknowledged tag of a page of which the target may hold any version, or none."""

WITHDRAWN: Final = ""
"""The tag of a withdrawal."""

MAX_SECONDS = 3_600.0
"""The longest delay or lease. A row that is due later was given its time by a wrong clock, and is due at once."""

SECOND = 1_000_000
"""Microseconds, in which stores keep moments."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

MAX_ANSWER_CHARACTERS = 500
"""Characters of an answer that are stored."""

DeliveryState: TypeAlias = Literal["current", "waiting", "held", "dead", "discarded"]
"""`current`: acknowledged, or nothing to send. `waiting`: to be sent, perhaps claimed.

`held`: to be sent once it is released, as a group of targets requires. `dead`: given up until the page changes or a
person retries it. `discarded`: a person decided that this version is not sent.
"""

Holding: TypeAlias = Literal["current", "behind", "missing", "surplus", "none"]
"""What a target holds of a page, by its receipt.

`current`: what is wanted. `behind`: another version, or an unknown one. `missing`: nothing, and should hold it.
`surplus`: something, and should hold nothing. `none`: nothing, as wanted.
"""

Outcome: TypeAlias = Literal["delivered", "unchanged", "refused", "dead", "returned", "uncertain", "held", "discarded"]
"""What became of a claimed delivery: see `Settlement`."""


def text_of(micros: int) -> str:
    """A moment, in microseconds since 1970, as fixed-width UTC text."""
    return format_timestamp(_EPOCH + timedelta(microseconds=micros))


def micros_of(text: str) -> int:
    """A moment as microseconds since 1970."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


def delay_of(seconds: float) -> int:
    """A delay or lease in microseconds, within its bounds."""
    return round(min(max(seconds, 0.0), MAX_SECONDS) * SECOND)


def answer_of(text: str) -> str:
    """A text of a target as it is stored: cut, without what a database refuses."""
    return text[:MAX_ANSWER_CHARACTERS].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


class DeliveryKey(NamedTuple):
    """A page of a target."""

    sku: str
    channel: str


FIRST_KEY = DeliveryKey("", "")


class Wanted(NamedTuple):
    """What a target is to get of a page, from the feed up to a position. `tag` is `WITHDRAWN` for a withdrawal."""

    sku: str
    channel: str
    tag: str
    position: int


class Placement(NamedTuple):
    """What a target is to get of a page, with its bytes: of a group's version, whatever the page is by then.

    `position` is above those of earlier placements of the page.
    """

    sku: str
    channel: str
    tag: str
    position: int
    document: bytes


GROUP_PREFIX = "saga:"
"""What names of groups of targets begin with: no target's name has a colon."""


def group_target(saga: str) -> str:
    """The name under which the pages of a group are kept: its rows are the pages that its targets are to get."""
    return f"{GROUP_PREFIX}{saga}"


def is_group(target: str) -> bool:
    """Whether a name is that of a group."""
    return target.startswith(GROUP_PREFIX)


class Claim(NamedTuple):
    """The right to deliver some rows. `number` is random: no two claims share it, not even of one holder."""

    target: str
    holder: str
    number: int


class ClaimedDelivery(NamedTuple):
    """A claimed row. `acked_tag` is None if nothing was ever sent, and may be `UNKNOWN` or `WITHDRAWN`.

    `attempts` counts refusals of this version. `document` was written by a person, to be sent in place of the page's.
    """

    sku: str
    channel: str
    wanted_tag: str
    wanted_position: int
    acked_tag: str | None
    attempts: int
    document: bytes | None


class Settlement(NamedTuple):
    """What became of a claimed delivery.

    `delivered`: the target has acknowledged the bytes that `tag` names, made of the page up to `position`. `page_tag`
    is the tag of the page's own document, if another one was sent in its place. `echo` is what was offered, as
    `Deliveries.offer` has it. `unchanged`: nothing was sent, since the newest document has `tag`, which is the
    acknowledged one. `refused`: the target refused this item; it is due after `delay` and has one attempt more. `dead`:
    as `refused`, for the last time. `returned`: nothing was sent; it is due after `delay`, without an attempt.
    `uncertain`: as `returned`, but it may have been received.

    `held`: nothing was sent, and nothing will be until a document is placed. `discarded`: as `dead`, but no person is
    needed.

    `answer` is what the target said, cut to `MAX_ANSWER_CHARACTERS`.
    """

    sku: str
    channel: str
    outcome: Outcome
    tag: str = WITHDRAWN
    page_tag: str | None = None
    position: int = 0
    answer: str = ""
    delay: float = 0.0
    echo: bytes | None = None


class StoredDelivery(NamedTuple):
    """A row as it is stored.

    `since` is when it was last current, None if it is. `due_at` is when it may be claimed, None unless it waits.
    `claimed_by` is the holder of a claim, which may have expired. `is_edited`: a person's document is to be sent.
    """

    target: str
    sku: str
    channel: str
    state: DeliveryState
    wanted_tag: str
    wanted_position: int
    acked_tag: str | None
    acked_position: int
    acked_at: str | None
    attempts: int
    since: str | None
    due_at: str | None
    answer: str
    claimed_by: str | None
    is_edited: bool
    echo: bytes | None


MOMENTS = [StoredDelivery._fields.index(name) for name in ("acked_at", "since", "due_at")]


def stored_delivery(row: Iterable[Any]) -> StoredDelivery:
    """A row, from its columns."""
    columns = list(row)
    for place in MOMENTS:
        columns[place] = None if columns[place] is None else text_of(columns[place])
    found = StoredDelivery._make(columns)
    return found._replace(is_edited=bool(found.is_edited))


class WaitingKey(NamedTuple):
    """The place of a row in the order of `Deliveries.oldest`."""

    since: str
    sku: str
    channel: str


FIRST_WAITING = WaitingKey("0001-01-01T00:00:00.000000Z", "", "")


def totals_of(
    settlements: Collection[Settlement], lost: Collection[DeliveryKey], counts: Mapping[str, int] | None
) -> dict[str, int]:
    """What settlements add to the totals of a target, by name."""
    outcomes = Counter(each.outcome for each in settlements if DeliveryKey(each.sku, each.channel) not in lost)
    added = Counter(counts or {})
    added.update(outcomes)
    added.update(lost=len(lost))
    return {name: added[name] for name in sorted(added) if added[name]}


def by_target(rows: Iterable[Iterable[Any]]) -> dict[str, dict[str, int]]:
    """Rows of target, name and total, by target."""
    found: dict[str, dict[str, int]] = {}
    for target, name, total in rows:
        found.setdefault(target, {})[name] = total
    return found


def may_have_arrived(settlements: Collection[Settlement], lost: Collection[DeliveryKey]) -> list[DeliveryKey]:
    """The lost rows, in order, of which a target may have received something under the lost claim."""
    keys = {DeliveryKey(each.sku, each.channel) for each in settlements if each.outcome in ("delivered", "uncertain")}
    return sorted(keys.intersection(lost))


class DeliveryCount(NamedTuple):
    """How many pages of a channel have one state and one holding at a target."""

    target: str
    channel: str
    state: DeliveryState
    holding: Holding
    pages: int


class Deliveries(ABC):
    """What each target holds of each page, and what it is to get.

    A target exists from its first mark on. Every write is one transaction, and can be repeated: at worst a page is
    delivered again. On SQLite, a power loss may take writes back, but never a claim: what was sent under a claim whose
    settlement is lost becomes `UNKNOWN`.
    """

    # --- the marker ---------------------------------------------------------------------------------------

    @abstractmethod
    async def cursor(self, target: str) -> str:
        """Where the marker of a target is in the feed; "" if it is to start with all pages."""

    @abstractmethod
    async def mark(
        self,
        target: str,
        before: str,
        after: str,
        wanted: Collection[Wanted],
        *,
        held: bool = False,
        unsent_withdrawals: bool = False,
    ) -> int | None:
        """Stores what is wanted, and moves the cursor from `before` to `after`, together.

        Returns how many rows have changed; None, with nothing stored, if the cursor is not at `before`. Each page at
        most once. What is wanted already, or acknowledged, changes nothing, unless the row is claimed: its holder may
        have read an older page or a newer one. Another tag starts the attempts over, drops a person's document, and
        revives a dead or discarded row. With `held`, a row that is not current waits for `release`. A withdrawal of a
        page that was never sent is not stored, unless `unsent_withdrawals`: the target may hold it although the
        receipt is lost.
        """

    # --- the deliverer ------------------------------------------------------------------------------------

    @abstractmethod
    async def claim(
        self, target: str, holder: str, limit: int, seconds: float
    ) -> tuple[Claim, Sequence[ClaimedDelivery]]:
        """Claims rows that are due, those due longest first, for some seconds. No two claims of a row live at once.

        Nothing of a target that is stopped. A row whose claim has expired is due again; it may have been sent, so its
        acknowledged tag is `UNKNOWN`. Pages are to be read after the claim, never before: only then does `settle` know
        that what was sent is no older than what was wanted. Durable before it returns, also on SQLite.
        """

    @abstractmethod
    async def renew(self, claim: Claim, keys: Collection[DeliveryKey], seconds: float) -> set[DeliveryKey]:
        """Extends a claim of some rows, and returns those that it has lost."""

    @abstractmethod
    async def offer(self, claim: Claim, offers: Mapping[DeliveryKey, bytes | None]) -> None:
        """Stores, as `echo`, by what the documents of claimed rows are recognised that are sent next.

        Such a document may be at the target, and come back, before `settle`. Rows that the claim has lost are left out.
        `redeliver` and `reset` forget what was offered.
        """

    @abstractmethod
    async def settle(
        self, claim: Claim, settlements: Collection[Settlement], counts: Mapping[str, int] | None = None
    ) -> set[DeliveryKey]:
        """Stores what became of claimed rows, and ends their claim. Returns those that the claim has lost.

        A row that was marked meanwhile is current only if it was marked with the tag that was delivered; otherwise it
        is due again at once, with its attempts started over. A lost row that was `delivered` or is `uncertain` becomes
        `UNKNOWN` and is delivered again, since its bytes may have arrived after those of another holder. `unchanged`
        counts as `returned` unless its tag is the acknowledged one. Each row at most once.

        Adds `counts` to the target's totals, with the number of its settlements by outcome, and of lost ones as
        `lost`.
        """

    @abstractmethod
    async def next_due(self, target: str) -> float | None:
        """In how many seconds the next row is due, 0 for now; None if none waits."""

    # --- for people and groups -----------------------------------------------------------------------------

    @abstractmethod
    async def release(self, target: str, keys: Collection[DeliveryKey]) -> int:
        """Lets held rows be delivered, and returns how many were held."""

    @abstractmethod
    async def retry(self, target: str, keys: Collection[DeliveryKey]) -> int:
        """Makes dead and discarded rows due now, with their attempts started over; returns how many there were."""

    @abstractmethod
    async def discard(self, target: str, keys: Collection[DeliveryKey]) -> int:
        """Discards dead rows, until their pages change; returns how many were dead."""

    @abstractmethod
    async def place(self, target: str, placements: Collection[Placement]) -> int:
        """Has the documents of a group's version sent to a target, and returns how many rows changed.

        What was placed at this position already changes nothing, unless its document is gone. What the target has
        acknowledged is current at once; of a page without a row, a withdrawal is sent. A claim of another document is
        lost, and what the target holds is unknown. Makes a target known, without a cursor.
        """

    @abstractmethod
    async def edit(self, target: str, key: DeliveryKey, document: bytes) -> bool:
        """Has a document sent in place of the page's, once, and at once. Returns whether there is such a row.

        It is dropped when the page changes. A claim of the row is lost. For a dead row, a retry with a corrected
        document; for a group, its way back to a document that all had.
        """

    @abstractmethod
    async def redeliver(self, target: str, keys: Collection[DeliveryKey]) -> int:
        """Makes receipts `UNKNOWN`, and the rows due now, whatever their state; returns how many there were.

        Their claims are lost.
        """

    @abstractmethod
    async def reset(self, target: str, since: str | None = None) -> None:
        """Makes all receipts of a target `UNKNOWN`, or those acknowledged `since` a moment, durably.

        In constant time. Receipts count no more from then on; `reset_step` makes the rows due. With `since`, a receipt
        counts until its step. A reset replaces one that has not ended.
        """

    @abstractmethod
    async def reset_step(self, target: str, limit: int) -> bool:
        """Makes up to `limit` more rows due, as `redeliver`; returns whether more are left."""

    @abstractmethod
    async def forget(self, target: str, limit: int) -> bool:
        """Removes up to `limit` rows of a target, at last the target; returns whether something is left."""

    # --- to be seen ----------------------------------------------------------------------------------------

    @abstractmethod
    async def receipts(self, skus: Collection[str], target: str | None = None) -> Sequence[StoredDelivery]:
        """The rows of some SKUs at one target or all, by target, SKU and channel. Without groups, unless it is one."""

    @abstractmethod
    async def rows(self, target: str, after: DeliveryKey = FIRST_KEY, limit: int = 100) -> Sequence[StoredDelivery]:
        """The next rows of a target, by SKU and channel."""

    @abstractmethod
    async def oldest(
        self, target: str, state: DeliveryState, after: WaitingKey = FIRST_WAITING, limit: int = 100
    ) -> Sequence[StoredDelivery]:
        """The next rows of a target in a state other than `current`, those longest not current first."""

    @abstractmethod
    async def waiting_since(self) -> Mapping[str, str]:
        """Since when the oldest waiting row of each target that has one is not current. Without groups."""

    @abstractmethod
    async def counts(self, target: str | None = None) -> Sequence[DeliveryCount]:
        """The exact numbers of pages by target, channel, state and holding, without counting rows. None is 0.

        Without groups, unless one is named; so are the totals.
        """

    @abstractmethod
    async def totals(self, target: str | None = None) -> Mapping[str, Mapping[str, int]]:
        """By target, what was counted since it exists: see `settle` and `count`."""

    @abstractmethod
    async def count(self, target: str, counts: Mapping[str, int]) -> None:
        """Adds to the totals of a target, such as requests answered 429."""
