"""Deliveries of a few pages by two holders and two markers, in any interleaving, against a target that is watched.

Requests arrive at once, late, or never; claims expire; the target is emptied; people edit, retry and redeliver. What a
receipt names is what the target holds, and in the end the target holds the pages.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from itertools import count
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pagefold import Config
from pagefold.engine.stores import open_store
from pagefold.engine.stores.delivery_records import (
    SECOND,
    UNKNOWN,
    Claim,
    ClaimedDelivery,
    DeliveryKey,
    Outcome,
    Settlement,
    StoredDelivery,
    Wanted,
    micros_of,
)
from pagefold.engine.stores.store import Store
from tests.support.delivery_clock import DeliveryClock

KEYS = [DeliveryKey("A", "de"), DeliveryKey("A", "us")]
LEASE = 10.0
EXAMPLES = 20
STEPS = 35

some_keys = st.sets(st.sampled_from(KEYS), min_size=1)
tags = st.sampled_from(["v1", "v2", "v3", ""])
holders = st.sampled_from(["first", "second"])
Result = TypeVar("Result")
numbers = count()


class Flight:
    """A claimed delivery: what was read after the claim, and whether it is on its way or has arrived."""

    def __init__(self, claim: Claim, row: ClaimedDelivery) -> None:
        self.claim = claim
        self.row = row
        self.key = DeliveryKey(row.sku, row.channel)
        self.page_tag: str | None = None
        self.sent: str | None = None
        self.arrived = False


class MarkRead:
    """What a marker has read of the feed, up to a position."""

    def __init__(self, before: str, after: int, wanted: list[Wanted]) -> None:
        self.before = before
        self.after = after
        self.wanted = wanted


class DeliveryMachine(RuleBasedStateMachine):
    """Pages, a target, and those who deliver."""

    def __init__(self, runner: asyncio.Runner, store: Store, clock: DeliveryClock) -> None:
        super().__init__()
        self.runner = runner
        self.clock = clock
        self.store = store.deliveries
        self.target = f"t{next(numbers)}"
        self.pages: dict[DeliveryKey, str] = {}
        self.changes: list[DeliveryKey] = []
        self.holds: dict[DeliveryKey, str] = dict.fromkeys(KEYS, "")
        self.reads: list[MarkRead] = []
        self.flights: list[Flight] = []
        self.edits: set[str] = set()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Runs something in the event loop of the store."""
        return self.runner.run(coroutine)

    def rows(self) -> dict[DeliveryKey, StoredDelivery]:
        """All rows."""
        return {DeliveryKey(row.sku, row.channel): row for row in self.run(self.store.rows(self.target))}

    # --- pages and markers ----------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        """All pages are marked."""
        for key in KEYS:
            self.change(key, "v1", is_followed=False)
        self.follow()

    @rule(key=st.sampled_from([*KEYS, KEYS[0]]), tag=tags, is_followed=st.booleans())
    def change(self, key: DeliveryKey, tag: str, *, is_followed: bool) -> None:
        """A page changes, perhaps back to what it was; a marker follows at once, or later."""
        self.pages[key] = tag
        self.changes.append(key)
        if is_followed:
            self.follow()

    def follow(self) -> None:
        """A marker stores what it reads."""
        self.read_feed()
        read = self.reads.pop()
        assert self.run(self.store.mark(self.target, read.before, str(read.after), read.wanted)) is not None

    @rule()
    def read_feed(self) -> None:
        """A marker reads the pages that changed since the cursor."""
        before = self.run(self.store.cursor(self.target))
        after = len(self.changes)
        wanted = [Wanted(*key, self.pages[key], after) for key in dict.fromkeys(self.changes[int(before or 0) :])]
        self.reads.append(MarkRead(before, after, wanted))

    @precondition(lambda self: self.reads)
    @rule(data=st.data(), held=st.integers(0, 5))
    def mark(self, data: st.DataObject, held: int) -> None:
        """A marker stores what it has read, perhaps long after."""
        read = self.reads.pop(data.draw(st.integers(0, len(self.reads) - 1)))
        is_first = read.before == self.run(self.store.cursor(self.target))
        changed = self.run(self.store.mark(self.target, read.before, str(read.after), read.wanted, held=held == 0))
        assert (changed is not None) == is_first

    # --- deliverers -----------------------------------------------------------------------------------

    @rule(holder=holders, sends=st.sampled_from([None, True, False]))
    def claim(self, holder: str, sends: bool | None) -> None:  # noqa: FBT001  # drawn by name
        """Finds every row that is due, and none that is claimed."""
        rows = self.rows()
        due = {key: micros_of(row.due_at) for key, row in rows.items() if row.due_at is not None}
        due = {key: at for key, at in due.items() if at <= self.clock.now}
        claim, claimed = self.run(self.store.claim(self.target, holder, len(KEYS), LEASE))
        keys = {DeliveryKey(row.sku, row.channel) for row in claimed}
        assert keys == due.keys()
        assert len(claimed) == len(due)
        for row in claimed:
            before = rows[DeliveryKey(row.sku, row.channel)]
            assert row.acked_tag == (UNKNOWN if before.claimed_by else before.acked_tag)
        begun = [
            Flight(claim, row) for row in sorted(claimed, key=lambda row: row[:2])
        ]  # sorted, so that a run can be repeated
        self.flights += begun
        for flight in begun if sends is not None else ():
            self.send_newest(flight, arrives=bool(sends))

    @precondition(lambda self: any(flight.page_tag is None for flight in self.flights))
    @rule(data=st.data(), arrives=st.booleans())
    def send(self, data: st.DataObject, *, arrives: bool) -> None:
        """Reads the newest page some time after the claim."""
        some = [flight for flight in self.flights if flight.page_tag is None]
        self.send_newest(data.draw(st.sampled_from(some)), arrives=arrives)

    def send_newest(self, flight: Flight, *, arrives: bool) -> None:
        """Reads the newest page, and sends it, unless that is what was acknowledged."""
        flight.page_tag = self.pages[flight.key]
        document = flight.row.document
        tag = flight.page_tag if document is None else document.decode()
        if document is not None or (flight.row.acked_tag or "") != tag:
            flight.sent = tag
            if arrives:
                self.arrive(flight)

    def arrive(self, flight: Flight) -> None:
        """The target takes what was sent, in the order of arrival."""
        if flight.sent is not None and not flight.arrived:
            flight.arrived = True
            self.holds[flight.key] = flight.sent

    @precondition(lambda self: self.flights)
    @rule(sends=st.booleans())
    def take_over(self, *, sends: bool) -> None:
        """A holder is frozen beyond its claim; another one claims, sends, and perhaps settles before it is back."""
        frozen = len(self.flights)
        self.clock.advance(LEASE)
        self.claim("second", True)  # noqa: FBT003  # a rule
        for flight in self.flights[frozen:] if sends else ():
            self.run(self.store.settle(flight.claim, [self.settlement(flight, 0, 0.0)]))
            self.flights.remove(flight)

    @precondition(lambda self: self.flights)
    @rule(data=st.data(), choice=st.integers(0, 4), delay=st.sampled_from([0.0, 3.0]))
    def settle(self, data: st.DataObject, choice: int, delay: float) -> None:
        """Settles some rows of one claim; a claim may have been lost meanwhile."""
        claim = data.draw(st.sampled_from(self.flights)).claim
        some = [flight for flight in self.flights if flight.claim == claim][: data.draw(st.integers(1, len(KEYS)))]
        before = self.rows()
        settlements = [self.settlement(flight, choice, delay) for flight in some]
        lost = self.run(self.store.settle(claim, settlements))
        self.flights = [flight for flight in self.flights if flight not in some]
        after = self.rows()
        for each in settlements:
            key = DeliveryKey(each.sku, each.channel)
            if key not in lost and each.outcome == "delivered":
                assert after[key].acked_tag in (each.tag, UNKNOWN)
            if key in lost and each.outcome in ("delivered", "uncertain"):
                assert after[key].acked_tag == UNKNOWN
                assert after[key].state != "current"
            if key in lost and each.outcome not in ("delivered", "uncertain"):
                assert after[key] == before[key]

    def settlement(self, flight: Flight, choice: int, delay: float) -> Settlement:
        """What may be said of a delivery."""
        outcome: Outcome
        tag = flight.page_tag or ""
        if flight.page_tag is None:
            outcome = "returned"
        elif flight.sent is None:
            outcome = "unchanged"
        elif choice in (0, 1) or (flight.arrived and choice > 2):
            self.arrive(flight)
            outcome, tag = "delivered", flight.sent
        else:
            outcome = "uncertain" if choice == 2 else "refused" if choice == 3 else "dead"
        return Settlement(*flight.key, outcome, tag, page_tag=flight.page_tag, delay=delay)

    @rule(seconds=st.sampled_from([3.0, LEASE, 2 * LEASE]))
    def wait(self, seconds: float) -> None:
        """Time passes; claims expire."""
        self.clock.advance(seconds)

    # --- people and accidents, which are rarer --------------------------------------------------------------

    @rule(data=st.data(), choice=st.integers(0, 6))
    def interfere(self, data: st.DataObject, choice: int) -> None:
        """One of the things that happen now and then."""
        keys = data.draw(some_keys)
        match choice:
            case 0:
                self.empty_target()
            case 1:
                self.run(self.store.reset_step(self.target, len(keys)))
            case 2:
                assert self.run(self.store.redeliver(self.target, keys)) == len(keys & self.rows().keys())
            case 3:
                self.edit(min(keys))
            case 4:
                self.decide(keys, data.draw(st.integers(0, 2)))
            case _:
                for flight in self.flights[:1]:
                    self.die(flight) if choice == 5 else self.renew(flight)

    def empty_target(self) -> None:
        """The target loses everything, and all is to be delivered again."""
        self.holds = dict.fromkeys(KEYS, "")
        self.run(self.store.reset(self.target))
        assert {row.acked_tag for row in self.rows().values()} <= {UNKNOWN}

    def edit(self, key: DeliveryKey) -> None:
        """A person's document is sent in place of the page's."""
        tag = f"edited-{self.pages[key]}"
        self.edits.add(tag)
        assert self.run(self.store.edit(self.target, key, tag.encode())) == (key in self.rows())

    def decide(self, keys: set[DeliveryKey], choice: int) -> None:
        """Dead rows are retried or discarded, or held ones released."""
        decision, states = (
            (self.store.retry, {"dead", "discarded"}),
            (self.store.discard, {"dead"}),
            (self.store.release, {"held"}),
        )[choice]
        expected = sum(row.state in states for key, row in self.rows().items() if key in keys)
        assert self.run(decision(self.target, keys)) == expected

    def die(self, flight: Flight) -> None:
        """A holder is killed; what it has sent has arrived, or never will."""
        self.flights = [each for each in self.flights if each.claim != flight.claim]

    def renew(self, flight: Flight) -> None:
        """A claim is extended, unless it was lost."""
        lost = self.run(self.store.renew(flight.claim, [flight.key], LEASE))
        row = self.rows()[flight.key]
        assert bool(lost) or (row.due_at is not None and micros_of(row.due_at) == self.clock.now + LEASE * SECOND)

    # --- what holds -------------------------------------------------------------------------------------

    @invariant()
    def receipts_name_what_the_target_holds(self) -> None:
        """Unless something is on its way, or was sent by a holder that died: its claim is not settled."""
        under_way = {flight.key for flight in self.flights if flight.sent is not None}
        for key, row in self.rows().items():
            if row.acked_tag == UNKNOWN or row.claimed_by or key in under_way:
                continue
            assert (row.acked_tag or "") == self.holds[key]
            if row.state == "current":
                assert self.holds[key] == row.wanted_tag or self.holds[key] in self.edits

    @invariant()
    def numbers_are_exact(self) -> None:
        """The counts by state are those of the rows, and so is the age of the oldest."""
        counted = Counter[tuple[str, str]]()
        for each in self.run(self.store.counts(self.target)):
            counted[each.channel, each.state] += each.pages
        rows = self.rows().values()
        assert counted == Counter((row.channel, row.state) for row in rows)
        waiting = [row.since for row in rows if row.state == "waiting" and row.since]
        assert self.run(self.store.waiting_since()).get(self.target) == min(waiting, default=None)

    def teardown(self) -> None:
        """Once nothing fails any more, the target holds the pages."""
        while self.flights:
            claim = self.flights[0].claim
            settled = [flight for flight in self.flights if flight.claim == claim]
            self.run(self.store.settle(claim, [self.settlement(flight, 0, 0.0) for flight in settled]))
            self.flights = [flight for flight in self.flights if flight not in settled]
        self.reads.clear()
        self.read_feed()
        read = self.reads.pop()
        self.run(self.store.mark(self.target, read.before, str(read.after), read.wanted))
        self.run(self.store.retry(self.target, KEYS))
        self.run(self.store.release(self.target, KEYS))
        while self.run(self.store.reset_step(self.target, 1)):
            pass
        self.run(self.store.release(self.target, KEYS))
        for _ in range(4):
            self.clock.advance(2 * LEASE)
            self.deliver_all()
        for key, row in self.rows().items():
            assert row.state == "current"
            assert row.acked_tag != UNKNOWN
            assert self.holds[key] == self.pages[key] or self.holds[key].startswith("edited-")
        self.receipts_name_what_the_target_holds()

    def deliver_all(self) -> None:
        """Claims and delivers what is due."""
        claim, rows = self.run(self.store.claim(self.target, "last", len(KEYS), LEASE))
        for row in rows:
            flight = Flight(claim, row)
            flight.page_tag = self.pages[flight.key]
            tag = flight.page_tag if row.document is None else row.document.decode()
            if row.document is not None or (row.acked_tag or "") != tag:
                flight.sent = tag
            self.run(self.store.settle(claim, [self.settlement(flight, 0, 0.0)]))


def test_a_target_holds_what_its_receipts_say(config: Config) -> None:
    """In any interleaving of changes, marks, claims, sends, crashes and resets."""
    with asyncio.Runner() as runner:
        store = runner.run(open_store(config))
        clock = DeliveryClock(store, config)
        try:
            run_state_machine_as_test(
                lambda: DeliveryMachine(runner, store, clock),  # type: ignore[arg-type]  # a function does as well
                settings=settings(
                    max_examples=EXAMPLES,
                    stateful_step_count=STEPS,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(store.close())
