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
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

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

KEYS = [DeliveryKey("A", "de"), DeliveryKey("A", "us"), DeliveryKey("B/1", "de")]
LEASE = 10.0
EXAMPLES = 15
STEPS = 30

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
        self.pages = dict.fromkeys(KEYS, "")
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

    @rule(key=st.sampled_from(KEYS), tag=tags)
    def change(self, key: DeliveryKey, tag: str) -> None:
        """A page changes, perhaps back to what it was."""
        self.pages[key] = tag
        self.changes.append(key)

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

    @rule(holder=holders, limit=st.integers(1, 4))
    def claim(self, holder: str, limit: int) -> None:
        """Finds every row that is due, the one that is due longest first, and none that is claimed."""
        rows = self.rows()
        due = {key: micros_of(row.due_at) for key, row in rows.items() if row.due_at is not None}
        due = {key: at for key, at in due.items() if at <= self.clock.now}
        claim, claimed = self.run(self.store.claim(self.target, holder, limit, LEASE))
        keys = {DeliveryKey(row.sku, row.channel) for row in claimed}
        assert keys <= due.keys()
        assert len(keys) == len(claimed) == min(limit, len(due))
        assert sorted(due[key] for key in keys) == sorted(due.values())[: len(keys)]
        for row in claimed:
            before = rows[DeliveryKey(row.sku, row.channel)]
            assert row.acked_tag == (UNKNOWN if before.claimed_by else before.acked_tag)
        self.flights += [Flight(claim, row) for row in claimed]

    @precondition(lambda self: any(flight.page_tag is None for flight in self.flights))
    @rule(data=st.data(), arrives=st.booleans())
    def send(self, data: st.DataObject, *, arrives: bool) -> None:
        """Reads the newest page, and sends it, unless that is what was acknowledged."""
        flight = data.draw(st.sampled_from([flight for flight in self.flights if flight.page_tag is None]))
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
    @rule(data=st.data(), choice=st.integers(0, 4), delay=st.sampled_from([0.0, 3.0]))
    def settle(self, data: st.DataObject, choice: int, delay: float) -> None:
        """Settles some rows of one claim; a claim may have been lost meanwhile."""
        number = data.draw(st.sampled_from(sorted({flight.claim.number for flight in self.flights})))
        some = [flight for flight in self.flights if flight.claim.number == number]
        some = data.draw(st.lists(st.sampled_from(some), min_size=1, unique=True))
        before = self.rows()
        settlements = [self.settlement(flight, choice, delay) for flight in some]
        lost = self.run(self.store.settle(some[0].claim, settlements))
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

    @precondition(lambda self: self.flights)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        """A holder is killed; what it has sent has arrived, or never will."""
        number = data.draw(st.sampled_from(sorted({flight.claim.number for flight in self.flights})))
        self.flights = [flight for flight in self.flights if flight.claim.number != number]

    @precondition(lambda self: self.flights)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        """A claim is extended, where it was not lost."""
        flight = data.draw(st.sampled_from(self.flights))
        lost = self.run(self.store.renew(flight.claim, [flight.key], LEASE))
        row = self.rows()[flight.key]
        assert bool(lost) or (row.due_at is not None and micros_of(row.due_at) == self.clock.now + LEASE * SECOND)

    @rule(seconds=st.sampled_from([0.1, 3.0, LEASE, 2 * LEASE]))
    def wait(self, seconds: float) -> None:
        """Time passes; claims expire."""
        self.clock.advance(seconds)

    # --- people -----------------------------------------------------------------------------------------

    @rule()
    def empty_target(self) -> None:
        """The target loses everything, and all is to be delivered again."""
        self.holds = dict.fromkeys(KEYS, "")
        self.run(self.store.reset(self.target))
        assert {row.acked_tag for row in self.rows().values()} <= {UNKNOWN}

    @rule(limit=st.integers(1, 2))
    def reset_step(self, limit: int) -> None:
        """A reset proceeds."""
        self.run(self.store.reset_step(self.target, limit))

    @rule(keys=some_keys)
    def redeliver(self, keys: set[DeliveryKey]) -> None:
        """Some pages are to be delivered again."""
        found = self.run(self.store.redeliver(self.target, keys))
        assert found == len(keys & self.rows().keys())

    @rule(key=st.sampled_from(KEYS))
    def edit(self, key: DeliveryKey) -> None:
        """A person's document is sent in place of the page's."""
        tag = f"edited-{self.pages[key]}"
        self.edits.add(tag)
        assert self.run(self.store.edit(self.target, key, tag.encode())) == (key in self.rows())

    @rule(keys=some_keys, choice=st.integers(0, 2))
    def decide(self, keys: set[DeliveryKey], choice: int) -> None:
        """Dead rows are retried or discarded, and held ones released."""
        decision, states = (
            (self.store.retry, {"dead", "discarded"}),
            (self.store.discard, {"dead"}),
            (self.store.release, {"held"}),
        )[choice]
        expected = sum(row.state in states for key, row in self.rows().items() if key in keys)
        assert self.run(decision(self.target, keys)) == expected

    # --- what holds -------------------------------------------------------------------------------------

    @invariant()
    def receipts_name_what_the_target_holds(self) -> None:
        """Unless something is on its way."""
        under_way = {flight.key for flight in self.flights if flight.sent is not None}
        for key, row in self.rows().items():
            if row.acked_tag == UNKNOWN or key in under_way:
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
