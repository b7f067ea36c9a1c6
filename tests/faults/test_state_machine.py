"""A real store against the model, with random appends, conflicts, crashes, folds, retries and decisions."""

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

import pagefold
from pagefold import Config, DomainEvent, Shop, StoreUnavailable
from pagefold.engine.configuration.work_config import WorkConfig
from pagefold.engine.intake import appender
from pagefold.engine.stores.epoch_fence import Fence
from pagefold.engine.stores.postgres.fold_transaction import PostgresFoldTransaction
from pagefold.engine.stores.sqlite.fold_transaction import SQLiteFoldTransaction
from pagefold.engine.stores.store import Store
from tests.support.small_shop import (
    SPEAKS,
    Raw,
    a_model,
    as_document,
    assert_every_event_is_counted,
    configured,
    event,
    everything,
    pages_in,
    pages_of,
    stream_of,
)
from tests.support.strategies import events

LOST = StoreUnavailable("the store", ConnectionError("lost"))
SKUS = ("A", "A/1", "\u00c4")
BAD = b'{"occurredAt":"2026-01-01T00:00:00.000000Z","recordedAt":"2026-01-01T00:00:00.000000Z","payload":5}'
some_events = st.lists(events(SKUS, newest=4), min_size=1, max_size=6)
windows = st.integers(1, 9)


class Crashed(Exception):
    """The process is assumed to end here."""


class ShopMachine(RuleBasedStateMachine):
    """A shop, and the model of what was accepted. Bad events have the versions 10, 20, …, which no good one has."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.model = a_model(config)
        self.accepted: list[DomainEvent] = []
        self.bad: dict[str, int] = {}
        self.decided: dict[str, int] = {}
        self.positions: list[int] = []
        self.runner = asyncio.Runner()
        self.open: list[AbstractAsyncContextManager[Shop]] = []
        self.reopen()

    def run(self, coroutine: Any) -> Any:  # noqa: ANN401  # whatever the coroutine gives
        """Runs something in the machine's own event loop."""
        return self.runner.run(coroutine)

    def reopen(self) -> None:
        """A new shop on the same store. The earlier one stays open until the end."""
        self.open.append(pagefold.open(self.config))
        self.shop: Shop = self.run(self.open[-1].__aenter__())

    def teardown(self) -> None:
        """Once all is folded, the pages are those of the model, and nothing was lost or doubled."""
        try:
            self.fold_everything(500)
            self.run(self.check_log())
        finally:
            for shop in reversed(self.open):
                self.run(shop.__aexit__(None, None, None))
            self.runner.close()

    async def check_log(self) -> None:
        """The log has the accepted events, each once, and the bad ones."""
        stored = [(each.originator_id, each.originator_version) for each in await everything(self.shop.store)]
        expected = [(stream_of(each), each.source_version) for each in self.accepted]
        expected += [(stream, version) for stream, newest in self.bad.items() for version in range(10, newest + 1, 10)]
        assert sorted(stored) == sorted(expected)

    # --- appending

    @rule(batch=some_events)
    def append(self, batch: list[DomainEvent]) -> None:
        """New events, old ones, and other contents for old versions: each outcome is the model's."""
        results = self.run(self.shop.append(batch))
        self.compare(batch, [result.outcome for result in results])
        positions = [result.position for result in results if result.outcome == "appended"]
        assert positions == sorted(positions)
        assert not self.positions or not positions or min(positions) > max(self.positions)
        self.positions += positions

    def compare(self, batch: Sequence[DomainEvent], outcomes: Sequence[str]) -> None:
        """The outcome of each event is the model's."""
        for each, outcome in zip(batch, outcomes, strict=True):
            assert outcome == self.model.submit(as_document(each))
            if outcome == "appended":
                self.accepted.append(each)

    @precondition(lambda self: self.accepted)
    @rule(seed=st.integers(0, 999))
    def deliver_again(self, seed: int) -> None:
        """An accepted event is a duplicate, in any order."""
        again = random.Random(seed).sample(self.accepted, min(len(self.accepted), 10))
        assert {result.outcome for result in self.run(self.shop.append(again))} == {"duplicate"}

    @rule(batch=some_events, after=st.booleans(), crashes=st.booleans())
    def append_and_lose_the_answer(self, batch: list[DomainEvent], after: bool, crashes: bool) -> None:  # noqa: FBT001  # drawn
        """The store fails before or after the commit. Sending the events again gives the right outcomes."""
        log = self.shop.store.log
        insert = log.insert

        async def fails(events: Sequence[Any], fence: Fence | None = None) -> list[int | None]:
            if after:
                await insert(events, fence)
            raise LOST

        patience = patch.object(appender, "RETRY_SECONDS", 0.001)
        with patch.object(log, "insert", fails), patience, pytest.raises(StoreUnavailable):
            self.run(self.shop.append(batch))
        if crashes:
            self.reopen()
        results = self.run(self.shop.append(batch))
        fates = [self.model.submit(as_document(each)) for each in batch]
        for each, result, fate in zip(batch, results, fates, strict=True):
            assert result.outcome == ("duplicate" if after and fate == "appended" else fate)
            if fate == "appended":
                self.accepted.append(each)
                self.positions.append(result.position or 0)

    # --- bad events

    @precondition(lambda self: self.accepted)
    @rule(seed=st.integers(0, 999))
    def put_a_bad_event(self, seed: int) -> None:
        """A stream gets a head that cannot be folded: its page stays as in the model."""
        victim = random.Random(seed).choice(self.accepted)
        if victim.source_version > 9:  # a valid event repaired it already
            return
        stream = stream_of(victim)
        self.bad[stream] = self.bad.get(stream, 0) + 10
        [position] = self.run(self.shop.store.log.insert([Raw(stream, self.bad[stream], victim.type, BAD)]))
        assert position is not None
        self.positions.append(position)

    @precondition(lambda self: self.bad)
    @rule(seed=st.integers(0, 999))
    def retry_dead_letters(self, seed: int) -> None:
        """Retrying dead letters without a repair changes nothing."""
        for dead_letter in self.run(self.shop.dead_letters.newest()):
            if random.Random(seed).random() < 0.5 or dead_letter.kind == "ingest":
                assert self.run(self.shop.dead_letters.retry(dead_letter)) == "still dead"

    @precondition(lambda self: self.bad)
    @rule(seed=st.integers(0, 999))
    def discard_dead_letters(self, seed: int) -> None:
        """A discarded dead letter stays resolved, until its stream gets another bad event."""
        self.fold_everything(500)
        stream = random.Random(seed).choice(sorted(self.bad))
        for dead_letter in self.run(self.shop.dead_letters.newest(kind="projection")):
            if dead_letter.originator_id == stream:
                self.run(self.shop.dead_letters.discard(dead_letter, "a test", "ada"))
        self.decided[stream] = self.bad[stream]

    @precondition(lambda self: self.bad)
    @rule(seed=st.integers(0, 999))
    def correct_a_dead_letter(self, seed: int) -> None:
        """A correction of a bad event counts as if its source had sent it."""
        self.fold_everything(500)
        stream = random.Random(seed).choice(sorted(self.bad))
        version = self.bad[stream]
        like = next(each for each in self.accepted if stream_of(each) == stream)
        for dead_letter in self.run(self.shop.dead_letters.newest(kind="projection")):
            if (dead_letter.originator_id, dead_letter.originator_version) == (stream, version):
                result = self.run(self.shop.dead_letters.correct(dead_letter, like.payload, "ada"))
                assert result.outcome == "appended"
                self.positions.append(result.position)
                corrected = msgspec.structs.replace(
                    like, source_version=version, occurred_at=self.run(self.moment_of(stream)), id=None
                )
                self.compare([corrected], ["appended"])
        self.decided[stream] = version

    async def moment_of(self, stream: str) -> datetime:
        """When the newest event of a stream occurred."""
        [head] = await self.shop.store.log.heads([stream])
        return datetime.fromisoformat(msgspec.json.decode(head.state)["occurredAt"])

    # --- folding

    @rule(window=windows, domain=st.sampled_from(sorted(SPEAKS)))
    def fold_one_domain(self, window: int, domain: str) -> None:
        """One domain, in small windows."""
        self.run(self.in_windows(window).catch_up([domain]))

    @rule(window=windows)
    def fold_everything(self, window: int) -> None:
        """Once all is folded, the pages equal the model's byte for byte, and every event is counted."""
        self.run(self.in_windows(window).catch_up())
        assert self.run(pages_of(self.shop)) == pages_in(self.model)
        self.run(assert_every_event_is_counted(self.shop.store))
        dead_letters = self.run(self.shop.dead_letters.newest(kind="projection"))
        undecided = {stream for stream, version in self.bad.items() if self.decided.get(stream) != version}
        assert {dead_letter.originator_id for dead_letter in dead_letters} == undecided

    @rule(window=windows, domain=st.sampled_from(sorted(SPEAKS)), step=st.sampled_from(["write", "advance"]))
    def crash_while_folding(self, window: int, domain: str, step: str) -> None:
        """The process ends inside the transaction, after its sections or its checkpoint were written."""
        folding = folding_class(self.shop.store)
        original: Callable[..., Any] = getattr(folding, step)
        times = itertools.count()

        async def crashes(folding: object, *arguments: object, **options: object) -> object:
            result = await original(folding, *arguments, **options)
            if next(times) >= 1:
                raise Crashed
            return result

        with patch.object(folding, step, crashes):
            try:
                self.run(self.in_windows(window).catch_up([domain]))
            except Crashed:
                self.reopen()

    @rule()
    def open_again(self) -> None:
        """Another process takes over from the first."""
        if len(self.open) < 4:
            self.reopen()

    def in_windows(self, window: int) -> Shop:
        """The shop, with consumers that fold that many positions at a time."""
        work = WorkConfig(batch=window, poll_seconds=0.05, lease_seconds=1.0)
        return Shop(self.shop.store, msgspec.structs.replace(self.config, work=work))

    @invariant()
    def checkpoints_are_within_the_log(self) -> None:
        """No checkpoint is ahead of the log, which ends at the last acknowledged event or later."""
        end = self.run(self.shop.store.log.end())
        assert end >= max(self.positions, default=0)
        for checkpoint in self.run(self.shop.store.coordination.checkpoints()):
            assert checkpoint.position <= end


def folding_class(store: Store) -> type:
    """The class of a store's fold transactions."""
    if type(store).__name__ == "SQLiteStore":
        return SQLiteFoldTransaction
    return PostgresFoldTransaction


def run_machine(config: Callable[[], Config], examples: int, steps: int, *, derandomize: bool = True) -> None:
    """Runs the machine on several stores, each new."""
    run_state_machine_as_test(
        lambda: ShopMachine(config()),  # type: ignore[arg-type]  # it takes any factory, according to its documentation
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=derandomize,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def a_sqlite_shop(folder: Path) -> Config:
    """A new store in a folder."""
    return configured(f"sqlite:///{folder / uuid4().hex}")


def a_postgres_shop(url: str) -> Config:
    """A new store in a database."""
    return configured(url, store={"url": url, "schema": f"shop_{uuid4().hex}"})


def test_sqlite_against_the_model(tmp_path: Path) -> None:
    """After any operations in any order, a SQLite store equals the model."""
    run_machine(lambda: a_sqlite_shop(tmp_path), examples=60, steps=20)


def test_postgres_against_the_model(postgres_url: str) -> None:
    """After any operations in any order, a PostgreSQL store equals the model."""
    run_machine(lambda: a_postgres_shop(postgres_url), examples=20, steps=20)


@pytest.mark.soak
def test_sqlite_against_the_model_for_long(tmp_path: Path) -> None:
    """The same with other random choices each time, for the length of a soak."""
    run_machine(lambda: a_sqlite_shop(tmp_path), examples=1_000, steps=50, derandomize=False)


@pytest.mark.soak
def test_postgres_against_the_model_for_long(postgres_url: str) -> None:
    """The same with other random choices each time, for the length of a soak."""
    run_machine(lambda: a_postgres_shop(postgres_url), examples=100, steps=50, derandomize=False)


def test_the_machine_s_own_rules(tmp_path: Path) -> None:
    """The rules of the machine, by hand: what it compares exists."""
    machine = ShopMachine(a_sqlite_shop(tmp_path))
    machine.append([event("inventory", {"available": 3}, sku="A"), event("inventory", {"available": 4}, sku="A")])
    assert [each.payload for each in machine.accepted] == [{"available": 3}]
    machine.put_a_bad_event(0)
    machine.fold_everything(1)
    machine.retry_dead_letters(0)
    assert len(machine.run(pages_of(machine.shop))) == 3
    machine.teardown()
