"""Works on the pages of one saga: claims those that are due, has targets get what is next, and records what they took.

A page is *in flight* while this process has its claim. Everything that counts is in the log and in the receipts: a
process that ends leaves pages whose claims expire, and the next one continues.

In a step, what is recorded is in the log before anything is placed: a target gets nothing that the log does not
explain.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, assert_never

from pagefold.engine.delivery.placed_documents import encode_document, encode_request
from pagefold.engine.reading.past_pages import PastPages
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.sagas.group_documents import GroupDocuments, PageVersion
from pagefold.engine.sagas.page_saga import PageName, PageSaga
from pagefold.engine.sagas.saga_errors import SagaStateError
from pagefold.engine.sagas.saga_repository import SagaRepository
from pagefold.engine.sagas.saga_steps import End, Look, Place, Record, Wait, goal_of, next_action
from pagefold.engine.stores.delivery_records import (
    Claim,
    DeliveryKey,
    Outcome,
    Placement,
    Settlement,
    StoredDelivery,
    group_target,
)
from pagefold.engine.stores.store import Store

LEASE_SECONDS = 20.0
"""A claim lasts so long, and is renewed after a third of it."""

MAX_FLIGHTS = 200
"""Pages that are in flight at a time."""

PATIENCE_SECONDS, RETURN_SECONDS = 5.0, 3.0
"""After how long a page that waits for a target is put aside, and for how long: others may be faster."""

BLOCKED_SECONDS, BLOCKED_STEP_SECONDS = 5.0, 1.0
"""How long a new version waits while a target is down or stopped; and how long a step rests then."""

POLL_SECONDS = 0.05
"""How often receipts are read while pages are in flight."""

FAULT_SECONDS = 60.0
"""How long a page is put aside whose record cannot be right."""

REVIVAL_SECONDS = 10.0
REVIVED_PAGES = 100
"""How often pages that need a person are looked at, and how many: the delivery itself may have been retried."""

MAX_ACTIONS = 100
"""More than a page can have in one step."""

log = Logger(__name__)


@dataclass
class Flight:
    """A page that is in flight: its claim, what the log has of it, and the versions that were folded."""

    claim: Claim
    key: DeliveryKey
    saga: PageSaga
    since: float
    newest: PageVersion | None = None
    versions: dict[int | None, PageVersion] = field(default_factory=dict)


@dataclass
class _Outcomes:
    """What one step has decided, with the log up to `end`. `blocked`: nothing new is begun."""

    end: int
    blocked: bool
    placements: dict[str, list[Placement]] = field(default_factory=dict)
    ended: list[tuple[Flight, Settlement]] = field(default_factory=list)


class Workplace(NamedTuple):
    """Where a runner works, under its own name. `wake` is called with each target that has something to deliver."""

    store: Store
    past: PastPages
    holder: str
    wake: Callable[[str], None]


class SagaRunner:
    """Works on one saga."""

    def __init__(self, documents: GroupDocuments, sagas: SagaRepository, place: Workplace) -> None:
        self._name, self._saga, self._documents = documents.name, documents.saga, documents
        self._store, self._past, self._sagas = place.store, place.past, sagas
        self._holder, self._wake = place.holder, place.wake
        self._group = group_target(documents.name)
        self._flights: dict[DeliveryKey, Flight] = {}
        self._renewed = self._revived = time.monotonic()

    async def step(self) -> float | None:
        """Does what can be done now. Seconds until there may be more; None if nothing waits. Raises `StoreError`.

        After an error, pages that were in flight are taken up again when their claims expire.
        """
        try:
            return await self._step()
        except BaseException:
            self._flights.clear()
            raise

    async def close(self) -> None:
        """Gives back what is in flight."""
        await self._settle([(flight, _returned(flight, 0.0)) for flight in self._flights.values()])

    async def _step(self) -> float | None:
        blocked = await self._is_blocked()
        await self._renew()
        await self._revive()
        await self._claim(limit=MAX_FLIGHTS // 4 if blocked else MAX_FLIGHTS)
        if not self._flights:
            return await self._store.deliveries.next_due(self._group)
        rows = await self._rows(self._flights)
        end = await self._store.log.end()
        outcomes = _Outcomes(end, blocked)
        flights = list(self._flights.values())
        while flights:
            looking = [flight for flight in flights if self._has_to_look(flight, rows[flight.key], outcomes)]
            await self._fold(looking, end)
            flights = looking
        lost = await self._sagas.save([flight.saga for flight in self._flights.values()])
        for flight in [each for each in self._flights.values() if each.saga.name in lost]:
            del self._flights[flight.key]
            outcomes.ended.append((flight, _returned(flight, RETURN_SECONDS)))
        await self._place(outcomes.placements, lost)
        await self._settle([(flight, settled) for flight, settled in outcomes.ended])
        if blocked:
            return BLOCKED_STEP_SECONDS
        return POLL_SECONDS if self._flights and not outcomes.ended else 0.0

    # --- claims ----------------------------------------------------------------------------------------

    async def _is_blocked(self) -> bool:
        """Whether a target would not take anything now: nothing new is begun, what has begun waits."""
        return any(
            each.name in self._saga.targets and (each.stop is not None or each.circuit is not None)
            for each in await self._store.delivery_targets.targets()
        )

    async def _claim(self, limit: int) -> None:
        room = limit - len(self._flights)
        if room <= 0:
            return
        claim, rows = await self._store.deliveries.claim(self._group, self._holder, room, LEASE_SECONDS)
        pages = [PageName(self._name, row.sku, row.channel) for row in rows]
        for page, found in zip(pages, await self._sagas.find(pages), strict=True):
            key = DeliveryKey(page.sku, page.channel)
            saga = PageSaga.create(page) if found is None else found
            self._flights[key] = Flight(claim, key, saga, time.monotonic())

    async def _renew(self) -> None:
        if time.monotonic() < self._renewed + LEASE_SECONDS / 3:
            return
        self._renewed = time.monotonic()
        for claim, flights in _by_claim(self._flights.values()).items():
            keys = [flight.key for flight in flights]
            for key in await self._store.deliveries.renew(claim, keys, LEASE_SECONDS):
                del self._flights[key]

    async def _revive(self) -> None:
        """Takes pages up again that needed a person, if the delivery that was refused waits or was taken meanwhile."""
        if time.monotonic() < self._revived + REVIVAL_SECONDS:
            return
        self._revived = time.monotonic()
        dead = await self._store.deliveries.oldest(self._group, "dead", limit=REVIVED_PAGES)
        keys = [DeliveryKey(row.sku, row.channel) for row in dead]
        rows = await self._rows(keys)
        revived = [key for key in keys if all(row.state not in ("dead", "discarded") for row in rows[key].values())]
        if revived:
            await self._store.deliveries.retry(self._group, revived)

    async def _rows(self, keys: Iterable[DeliveryKey]) -> dict[DeliveryKey, dict[str, StoredDelivery]]:
        """The receipts of pages, by target."""
        found: dict[DeliveryKey, dict[str, StoredDelivery]] = {key: {} for key in keys}
        for row in await self._store.deliveries.receipts({key.sku for key in found}):
            if row.target in self._saga.targets and (rows := found.get(DeliveryKey(row.sku, row.channel))) is not None:
                rows[row.target] = row
        return found

    # --- decisions -------------------------------------------------------------------------------------

    def _has_to_look(self, flight: Flight, rows: Mapping[str, StoredDelivery], outcomes: _Outcomes) -> bool:
        """As `_decide`. A page whose record cannot be right is put aside: the others are not to wait for it."""
        try:
            return self._decide(flight, rows, outcomes)
        except (SagaStateError, AssertionError) as error:
            log.error("a page of a saga is put aside", page=str(flight.saga.name), error=str(error))  # noqa: TRY400  # one of ours says what is wrong
            flight.saga.collect_events()
            outcomes.ended.append((flight, _returned(flight, FAULT_SECONDS)))
            return False

    def _decide(self, flight: Flight, rows: Mapping[str, StoredDelivery], outcomes: _Outcomes) -> bool:
        """Decides about a page as far as that is possible; True if a version of it has to be folded first."""
        saga = flight.saga
        for _ in range(MAX_ACTIONS):
            newest = None if flight.newest is None else flight.newest.version
            if (goal := flight.versions.get(goal_of(saga, newest))) is None:
                return True
            action = next_action(saga, rows, goal.version, newest, self._saga.targets)
            position = max(outcomes.end, saga.position + 1, *(row.wanted_position + 1 for row in rows.values()))
            match action:
                case Look():
                    return True
                case Record("start") if outcomes.blocked:
                    outcomes.ended.append((flight, _returned(flight, BLOCKED_SECONDS)))
                    return False
                case Record():
                    self._record(flight, action, position)
                case Place(target):
                    placed = self._placement(flight, target, goal, position if action.again else saga.position)
                    outcomes.placements.setdefault(target, []).append(placed)
                    return False
                case Wait():
                    if not outcomes.blocked and time.monotonic() > flight.since + PATIENCE_SECONDS:
                        outcomes.ended.append((flight, _returned(flight, RETURN_SECONDS)))
                    return False
                case End(how):
                    outcomes.ended.append((flight, _ended(flight, how)))
                    return False
                case _:
                    assert_never(action)
        problem = f"the saga {saga.name} does not come to an end"
        raise AssertionError(problem)

    def _record(self, flight: Flight, action: Record, position: int) -> None:
        saga = flight.saga
        match action.what:
            case "start" | "agree":
                newest = _known(flight)
                version = newest.version
                if action.what == "agree":
                    saga.agree(upto=version.position, position=position, tag=version.tag)
                    return
                saga.start(
                    upto=version.position,
                    position=position,
                    tag=version.tag,
                    targets=self._saga.targets,
                    pivot=self._saga.decides,
                    ahead=action.flag,
                )
                flight.versions[version.position] = newest
            case "take":
                saga.take(action.target)
            case "complete":
                saga.complete()
            case "refuse":
                log.warning("a version is taken back", page=str(saga.name), target=action.target, reason=action.reason)
                saga.refuse(action.target, action.reason, position, uncertain=action.flag)
            case "revert":
                saga.revert(action.target)
            case "compensate":
                saga.compensate()
            case "stick":
                log.error("a saga needs a person", page=str(saga.name), target=action.target, reason=action.reason)
                saga.stick(action.target, action.reason)
            case _:
                assert_never(action.what)

    def _placement(self, flight: Flight, target: str, goal: PageVersion, position: int) -> Placement:
        """What a target is to get: its document, or the request that takes the page back."""
        request = self._documents.compensation(target, flight.key) if flight.saga.phase == "backward" else None
        document = goal.document_for(target)
        stored = encode_document(document) if request is None else encode_request(request)
        return Placement(*flight.key, document.tag, position, stored)

    # --- what is done ----------------------------------------------------------------------------------

    async def _fold(self, flights: Sequence[Flight], end: int) -> None:
        """Folds what has to be known of pages: the version that counts, or the newest.

        The newest one is the page at the end of the log, which was read after the claim: no older than what was marked.
        """
        wanted: dict[int, list[Flight]] = {}
        for flight in flights:
            newest = None if flight.newest is None else flight.newest.version
            goal = goal_of(flight.saga, newest)
            is_known = goal in flight.versions
            if is_known or (flight.saga.phase == "idle" and newest is None):
                goal = end
            if goal is None:
                flight.versions[None] = self._documents.of(None, 0)
                continue
            wanted.setdefault(goal, []).append(flight)
        for position, some in wanted.items():
            view = await self._past.view(position)
            pages: dict[DeliveryKey, bytes] = {}
            for channel in {flight.key.channel for flight in some}:
                if self._documents.channels is None or channel in self._documents.channels:
                    skus = [flight.key.sku for flight in some if flight.key.channel == channel]
                    found = await self._past.get_many_json(skus, channel, view)
                    pages.update({DeliveryKey(sku, channel): page for sku, page in found.items()})
            for flight in some:
                version = self._documents.of(pages.get(flight.key), position)
                flight.versions[position] = version
                if position == end:
                    flight.newest = version

    async def _place(self, placements: Mapping[str, Sequence[Placement]], lost: set[PageName]) -> None:
        names = {(page.sku, page.channel) for page in lost}
        for target, some in placements.items():
            await self._store.deliveries.place(target, [each for each in some if each[:2] not in names])
            self._wake(target)

    async def _settle(self, ended: Sequence[tuple[Flight, Settlement]]) -> None:
        for flight, _ in ended:
            self._flights.pop(flight.key, None)
        for claim, flights in _by_claim(flight for flight, _ in ended).items():
            keys = {flight.key for flight in flights}
            settlements = [each for flight, each in ended if flight.key in keys]
            await self._store.deliveries.settle(claim, settlements)


def _returned(flight: Flight, seconds: float) -> Settlement:
    return Settlement(*flight.key, "returned", delay=seconds)


def _ended(flight: Flight, how: Outcome) -> Settlement:
    """What the group's row says: all targets have the newest version, or it was given up, or a person has to decide."""
    version = _known(flight).version
    return Settlement(*flight.key, how, version.tag, position=version.position, answer=flight.saga.reason)


def _known(flight: Flight) -> PageVersion:
    """The newest version, without which nothing begins or ends."""
    if flight.newest is None:
        problem = f"the newest version of {flight.saga.name} was not read"
        raise AssertionError(problem)
    return flight.newest


def _by_claim(flights: Iterable[Flight]) -> dict[Claim, list[Flight]]:
    found: dict[Claim, list[Flight]] = {}
    for flight in flights:
        found.setdefault(flight.claim, []).append(flight)
    return found
