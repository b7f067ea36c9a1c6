"""Brings one target up to date: claims pages that are due, sends their newest state, and stores receipts.

Every process that works runs one for each target; they share the work by claims, and the target's limits by slots and
reservations in the store. What is sent is read after the claim: a receipt names bytes that the target got, and no page
is sent by two at a time.
"""

import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import anyio
from anyio.abc import TaskGroup

from pagefold.engine.configuration.target_config import TargetConfig
from pagefold.engine.delivery.circuit import AnswerWindow, backoff, probe_delay
from pagefold.engine.delivery.documents import NOTHING, Document, document_maker, idempotency_key
from pagefold.engine.delivery.offers import offer_maker
from pagefold.engine.delivery.pace import Pace
from pagefold.engine.delivery.placed_documents import Placed, decode_placed
from pagefold.engine.delivery.target_group import TargetGroup
from pagefold.engine.delivery.target_kind import Answer, Answers, Item, PageKey, Refused, Taken, TargetKind, Unavailable
from pagefold.engine.errors import StoreError
from pagefold.engine.reading.page_reader import PageReader
from pagefold.engine.runtime.clock import seconds_since
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.runtime.task_groups import unwrap_group
from pagefold.engine.runtime.wake_signal import WakeSignal
from pagefold.engine.stores.delivery_records import Claim, ClaimedDelivery, DeliveryKey, Outcome, Settlement
from pagefold.engine.stores.delivery_targets import DeliveryTarget
from pagefold.engine.stores.store import Store

LOOK_SECONDS = 0.25
"""How often the state of a target is read while something is to be done,"""

IDLE_SECONDS = 1.0
"""and while nothing is. What this process marks wakes it at once."""

PROVEN_SECONDS = 10.0
"""A deliverer that has worked for so long ends what is noted as a problem of its target. A success does, too."""

LEASE_MARGIN_SECONDS = 20.0
"""A claim, and a slot, last so much longer than a request may take."""

CLAIMED_REQUESTS = 8
"""Requests for each slot whose pages are claimed at a time."""

READ_PAGES, FRESH_SECONDS = 100, 0.25
"""Pages of the next requests that are read at a time, and how long one may wait before it is read again."""

SETTLED_TOGETHER, SETTLE_SECONDS = 500, 0.05
"""Receipts that are stored in one transaction, and how long one may wait for others."""

log = Logger(__name__)


class Place(NamedTuple):
    """Where a deliverer works: a store, its pages, the position up to which they are folded, and its own name."""

    store: Store
    pages: PageReader
    position: Callable[[], Awaitable[int]]
    holder: str


class _Read(NamedTuple):
    """Documents that were read at a time, after the position up to which pages were folded."""

    at: float
    position: int
    documents: Mapping[DeliveryKey, Document]


class _Batch(NamedTuple):
    """The pages of a request, and what was read of them; under a claim that lasts until `ends` by our clock."""

    claim: Claim
    rows: Sequence[ClaimedDelivery]
    ends: float
    read: _Read | None = None


class _Outgoing(NamedTuple):
    """A page that is to be sent: its row, what is sent, and the tag of what would be sent without a person's edit.

    `offer` is by what it is recognised if the target sends it back.
    """

    row: ClaimedDelivery
    item: Item
    page_tag: str
    offer: bytes | None = None


class Deliverer:
    """Delivers to one target, through a kind that is open. `due` is set when something may be due.

    A target of a group gets only what the group has placed: what is due without it is withheld, and the group has to
    look at the page.
    """

    def __init__(
        self, name: str, target: TargetConfig, kind: TargetKind, place: Place, group: TargetGroup | None = None
    ) -> None:
        self._name, self._target, self._kind, self._place, self._group = name, target, kind, place, group
        self._deliveries, self._targets = place.store.deliveries, place.store.delivery_targets
        self._make = document_maker(target)
        self._offer = offer_maker(target)
        self._pace = Pace(name, target, self._targets)
        self._window = AnswerWindow()
        self._lease = target.timeout_seconds + LEASE_MARGIN_SECONDS
        self._claimed: deque[_Batch] = deque()
        self._claiming = anyio.Lock()
        self._senders = 0
        self._allowed = 0
        self._slots_until = float("-inf")
        self._failed_probes = 0
        self._noted_at = float("-inf")
        self._settler = _Settler(self)
        self._since = time.monotonic()
        self.due = WakeSignal()

    async def run(self) -> None:
        """Delivers until it is cancelled; a request that is under way is finished. Raises `StoreError`."""
        try:
            with unwrap_group():
                async with anyio.create_task_group() as group:
                    while True:
                        seen = self.due.count
                        await self.due.wait(await self._look(group), seen)
        finally:  # what was under way has ended by now
            with anyio.move_on_after(self._target.timeout_seconds, shield=True), suppress(StoreError):
                await self._give_back()

    async def _look(self, group: TaskGroup) -> float:
        """Starts what may be sent, and returns the seconds after which to look again."""
        if not self._senders:
            await self._settler.flush()
        state = await self._state()
        if state is not None:
            self._pace.take(state)
            if state.problem is not None and time.monotonic() - self._since >= PROVEN_SECONDS:
                await self._targets.end_problem(self._name)
            if state.stop is not None:
                self._allowed = 0
                return IDLE_SECONDS
            if state.circuit is not None:
                self._allowed = 0
                return await self._probe_in_time(state)
        seconds = await self._deliveries.next_due(self._name)
        if seconds is None or seconds > 0:
            await self._release_slots()
            return IDLE_SECONDS if seconds is None else min(seconds, IDLE_SECONDS)
        if (held := self._pace.held_seconds) > 0:
            return min(held, IDLE_SECONDS)
        await self._take_slots()
        while self._senders < self._allowed:
            self._senders += 1
            group.start_soon(self._send_until_done)
        return LOOK_SECONDS

    async def _state(self) -> DeliveryTarget | None:
        return next((each for each in await self._targets.targets() if each.name == self._name), None)

    # --- slots -----------------------------------------------------------------------------------------

    async def _take_slots(self) -> None:
        asked = time.monotonic()
        most = self._pace.concurrency
        self._allowed = await self._targets.take_slots(self._name, self._place.holder, most, most, self._lease)
        self._slots_until = asked + self._lease

    async def _release_slots(self) -> None:
        """Gives the slots back, once nothing is under way."""
        if self._slots_until > float("-inf") and not self._senders and not self._claimed:
            await self._targets.take_slots(self._name, self._place.holder, 0, self._pace.concurrency, self._lease)
            self._slots_until = float("-inf")
            self._allowed = 0

    # --- sending ---------------------------------------------------------------------------------------

    async def _send_until_done(self) -> None:
        """Sends one request after another, as long as there is something to send and a slot for it."""
        try:
            while self._senders <= self._allowed and (batch := await self._next_batch()) is not None:
                if await self._has_turn(batch):
                    with anyio.CancelScope(shield=True):  # what is sent is settled
                        await self._deliver(batch)
                    await anyio.sleep(self._pace.linger_seconds)
        finally:
            self._senders -= 1
            self.due.set()

    async def _next_batch(self) -> _Batch | None:
        """The pages of the next request, None if none is due."""
        async with self._claiming:
            if not self._claimed and self._allowed:
                size = self._kind.max_batch
                asked = time.monotonic()
                with anyio.CancelScope(shield=True):  # else rows might be claimed that nobody gives back
                    claim, rows = await self._deliveries.claim(
                        self._name, self._place.holder, size * self._allowed * CLAIMED_REQUESTS, self._lease
                    )
                for start in range(0, len(rows), size):
                    self._claimed.append(_Batch(claim, rows[start : start + size], asked + self._lease))
            if not self._claimed:
                return None
            if self._claimed[0].read is None:
                await self._read_ahead()
            return self._claimed.popleft()

    async def _read_ahead(self) -> None:
        """Reads the documents of the next requests, so many as are worth a read."""
        size = self._kind.max_batch
        batches = [self._claimed.popleft() for _ in range(min(len(self._claimed), max(1, READ_PAGES // size)))]
        try:
            read = await self._read([row for batch in batches for row in batch.rows])
            batches = [batch._replace(read=read) for batch in batches]
        finally:
            self._claimed.extendleft(reversed(batches))

    async def _has_turn(self, batch: _Batch) -> bool:
        """Waits until the request may be sent. False if it may not be sent any more: its rows are given back."""
        try:
            while self._allowed and time.monotonic() < self._latest(batch):
                if not (seconds := await self._pace.turn()):
                    return True
                await anyio.sleep(seconds)
        except anyio.get_cancelled_exc_class():
            self._claimed.appendleft(batch)  # given back with the others
            raise
        await self._return(batch)
        return False

    def _latest(self, batch: _Batch) -> float:
        """When a request must begin at the latest, so that it ends while the claim and the slot last."""
        return min(batch.ends, self._slots_until) - self._target.timeout_seconds - 1

    async def _return(self, batch: _Batch) -> None:
        await self._settler.add(batch.claim, [Settlement(row.sku, row.channel, "returned") for row in batch.rows])

    async def _give_back(self) -> None:
        """Gives back what is claimed and was not sent, and stores the last receipts."""
        while self._claimed:
            await self._return(self._claimed.popleft())
        await self._settler.flush()
        await self._release_slots()

    async def _deliver(self, batch: _Batch) -> None:
        outgoing, settled = await self._outgoing(batch)
        if settled:
            await self._settler.add(batch.claim, settled)
        if outgoing:
            await self._store_offers(batch.claim, outgoing)
            await self._send(batch, outgoing)

    async def _store_offers(self, claim: Claim, outgoing: Sequence[_Outgoing]) -> None:
        """Stores what is about to be sent, if it may come back: perhaps before its receipt is stored."""
        if self._offer is not None:
            await self._deliveries.offer(
                claim, {DeliveryKey(each.row.sku, each.row.channel): each.offer for each in outgoing}
            )

    async def _outgoing(self, batch: _Batch) -> tuple[list[_Outgoing], list[Settlement]]:
        """What is to be sent of a claim: the newest documents. What the target has acknowledged already is not."""
        rows, settled = list(batch.rows), list[Settlement]()
        if self._group is not None:
            settled = await self._group.withhold([row for row in rows if row.document is None])
            rows = [row for row in rows if row.document is not None]
        read = batch.read
        if read is None or time.monotonic() - read.at > FRESH_SECONDS:
            read = await self._read(rows)
        outgoing: list[_Outgoing] = []
        for row in rows:
            newest = read.documents[DeliveryKey(row.sku, row.channel)]
            # What a person wrote is for the version that was refused, not for one that nobody has marked yet.
            written = row.document if self._group is not None or newest.tag == row.wanted_tag else None
            sent, request = Placed(newest) if written is None else decode_placed(written)
            if written is None and sent.tag == row.acked_tag:
                settled.append(Settlement(row.sku, row.channel, "unchanged", sent.tag))
                continue
            # Not the row's position, which may be of the log that there was before a restore.
            page, tag, page_tag, position = PageKey(row.sku, row.channel), sent.tag, newest.tag, read.position
            if self._group is not None:  # the version that was placed, and its position
                page_tag, position = row.wanted_tag, row.wanted_position
                tag = sent.tag if request is None else row.wanted_tag
            key = idempotency_key(self._name, page, tag, row.wanted_position)
            item = Item(page, sent.body, tag, position, key, row.attempts + 1, request)
            offer = None if self._offer is None or request is not None else self._offer(sent, position)
            outgoing.append(_Outgoing(row, item, page_tag, offer))
        return outgoing, settled

    async def _read(self, rows: Sequence[ClaimedDelivery]) -> _Read:
        """The newest documents of claimed rows; of a group nothing, whatever the pages are by now."""
        at = time.monotonic()
        if self._group is not None:
            return _Read(at, 0, {DeliveryKey(row.sku, row.channel): NOTHING for row in rows})
        position = await self._place.position()
        skus: dict[str, list[str]] = {}
        for row in rows:
            skus.setdefault(row.channel, []).append(row.sku)
        documents = {}
        for channel, named in skus.items():
            pages = await self._place.pages.get_many_json(named, channel) if self._is_wanted(channel) else {}
            documents.update({DeliveryKey(sku, channel): self._make(pages.get(sku)) for sku in named})
        return _Read(at, position, documents)

    def _is_wanted(self, channel: str) -> bool:
        return not self._target.channels or channel in self._target.channels

    async def _send(self, batch: _Batch, outgoing: Sequence[_Outgoing]) -> None:
        """Sends one request. A batch that is refused as a whole is halved, until what is wrong with it is alone."""
        answers = await self._kind.deliver([each.item for each in outgoing])
        await self._pace.obey(answers.limits)
        found = list(zip(outgoing, answers.items, strict=True))
        together = [each for each, answer in found if isinstance(answer, Refused) and not answer.alone]
        if len(found) == 1:
            together = []
        alone = [(each, answer) for each, answer in found if each not in together]
        settled = [self._settlement(each, answer) for each, answer in alone]
        await self._settler.add(batch.claim, settled, _counts(answers))
        await self._note([answer for _, answer in alone])
        middle = len(together) // 2
        for half in filter(None, (together[:middle], together[middle:])):
            again = batch._replace(rows=[each.row for each in half])
            if await self._has_turn(again):
                await self._send(again, half)

    def _settlement(self, outgoing: _Outgoing, answer: Answer) -> Settlement:
        row, item, page_tag, offer = outgoing
        match answer:
            case Taken(text):
                self._window.taken()
                return Settlement(
                    row.sku, row.channel, "delivered", item.tag, page_tag, item.position, text, echo=offer
                )
            case Refused(text):
                self._window.refused(item.page, unknown_address=answer.unknown_address)
                last = item.attempt >= self._target.tries and not self._window.knows_no_page
                return Settlement(
                    row.sku,
                    row.channel,
                    "dead" if last else "refused",
                    item.tag,
                    page_tag,
                    answer=text,
                    delay=backoff(item.attempt),
                )
            case Unavailable(text):
                self._window.failed()
                outcome: Outcome = "uncertain" if answer.received else "returned"
                return Settlement(row.sku, row.channel, outcome, answer=text, delay=LOOK_SECONDS)

    async def _note(self, answers: Sequence[Answer]) -> None:
        """Remembers whether the target works, and opens the circuit if it does not."""
        if any(isinstance(answer, Taken) for answer in answers):
            if time.monotonic() - self._noted_at > LOOK_SECONDS:
                self._noted_at = time.monotonic()
                await self._targets.note_success(self._name)
            await self._pace.succeeded()
        failures = [answer for answer in answers if isinstance(answer, Unavailable)]
        if failures and len(failures) == len(answers):
            await self._targets.note_failure(self._name)
            self._noted_at = float("-inf")
        if self._window.is_down and (bad := [answer for answer in answers if not isinstance(answer, Taken)]):
            await self._open_circuit(bad[-1].text)

    async def _open_circuit(self, reason: str) -> None:
        self._allowed = 0
        self._failed_probes += 1
        wait = max(probe_delay(self._failed_probes), self._pace.held_seconds)
        if await self._targets.open_circuit(self._name, reason, wait):
            log.warning("the target is down: it is probed until it answers", target=self._name, reason=reason)

    # --- probing ---------------------------------------------------------------------------------------

    async def _probe_in_time(self, state: DeliveryTarget) -> float:
        """Probes a target whose circuit is open, if it is time and no other process does; the seconds until then."""
        await self._give_back()
        if await self._is_given_up(state) or state.circuit is None:
            return IDLE_SECONDS
        if (wait := max(state.circuit.probe_in, self._pace.held_seconds)) > 0:
            return min(wait, IDLE_SECONDS)
        if not await self._targets.take_probe(self._name, self._lease):
            return IDLE_SECONDS
        with anyio.CancelScope(shield=True):
            works, reason = await self._probe()
        if works:
            self._window.forget()
            self._failed_probes = 0
            if await self._targets.close_circuit(self._name):
                log.info("the target is back", target=self._name)
            return 0.0
        self._failed_probes += 1
        wait = max(probe_delay(self._failed_probes), self._pace.held_seconds)
        await self._targets.open_circuit(self._name, reason, wait)
        return min(wait, IDLE_SECONDS)

    async def _probe(self) -> tuple[bool, str]:
        """Delivers what has been due longest. Whether the target works, and if not, why."""
        while True:
            asked = time.monotonic()
            claim, rows = await self._deliveries.claim(self._name, self._place.holder, 1, self._lease)
            if not rows:  # nothing waits: the next delivery is the probe
                return True, ""
            outgoing, settled = await self._outgoing(_Batch(claim, rows, asked + self._lease))
            if outgoing:
                break
            await self._deliveries.settle(claim, settled)  # it holds that page already
        await self._store_offers(claim, outgoing)
        answers = await self._kind.deliver([each.item for each in outgoing])
        await self._pace.obey(answers.limits)
        [answer] = answers.items
        refused_all = isinstance(answer, Refused) and answer.unknown_address and self._window.knows_no_page
        await self._settler.add(claim, [self._settlement(outgoing[0], answer)], _counts(answers) | {"probes": 1})
        await self._settler.flush()
        if isinstance(answer, Taken):
            await self._targets.note_success(self._name)
        return not isinstance(answer, Unavailable) and not refused_all, answer.text

    async def _is_given_up(self, state: DeliveryTarget) -> bool:
        """Stops a target that has failed for too long without one success, and says so."""
        hours = self._target.disable_after_hours
        if state.failing_since is None or seconds_since(state.failing_since) < hours * 3600:
            return False
        reason = f"{hours:g} h without one success: {state.circuit.reason if state.circuit else ''}".rstrip(": ")
        await self._targets.stop(self._name, "disabled", "pagefold", reason)
        log.error("the target is disabled", target=self._name, reason=reason)
        return True

    # --- receipts --------------------------------------------------------------------------------------

    async def settle(self, claim: Claim, settlements: Sequence[Settlement], counts: dict[str, int]) -> None:
        """Stores what became of claimed rows."""
        lost = await self._deliveries.settle(claim, settlements, counts)
        if lost:
            log.warning("a claim was lost: its pages are delivered again", target=self._name, pages=len(lost))


def _counts(answers: Answers) -> dict[str, int]:
    """What a request adds to the totals of its target."""
    return {"requests": 1, "throttled": int(answers.limits.throttled)}


class _Settler:
    """Collects receipts, so that many are stored in one transaction."""

    def __init__(self, deliverer: Deliverer) -> None:
        self._deliverer = deliverer
        self._pending: dict[Claim, dict[DeliveryKey, Settlement]] = {}
        self._counts: dict[Claim, dict[str, int]] = {}
        self._size = 0
        self._first_at = math.inf
        self._turn = anyio.Lock()

    async def add(self, claim: Claim, settlements: Sequence[Settlement], counts: dict[str, int] | None = None) -> None:
        """Adds some; stores all of them if there are many, or the first has waited."""
        rows = self._pending.setdefault(claim, {})
        rows.update({DeliveryKey(each.sku, each.channel): each for each in settlements})
        total = self._counts.setdefault(claim, {})
        for name, number in (counts or {}).items():
            total[name] = total.get(name, 0) + number
        self._size += len(settlements)
        self._first_at = min(self._first_at, time.monotonic())
        if self._size >= SETTLED_TOGETHER or time.monotonic() - self._first_at >= SETTLE_SECONDS:
            await self.flush()

    async def flush(self) -> None:
        """Stores all of them. What cannot be stored is delivered again, once its claim has expired."""
        async with self._turn:
            pending, counts = self._pending, self._counts
            self._pending, self._counts, self._size, self._first_at = {}, {}, 0, math.inf
            with anyio.CancelScope(shield=True):  # else receipts are lost, and pages sent again
                for claim, rows in pending.items():
                    await self._deliverer.settle(claim, list(rows.values()), counts.get(claim, {}))
