"""A shop for one test, the events that it will get, and the checks at the end."""

import itertools
import os
import random
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import orjson
import pytest

from pagefold import Config, Shop
from pagefold.engine.applied.applied_log import TOPIC
from pagefold.engine.demo import sample_shop
from pagefold.engine.demo.faults import Arrival, Faults, inject_faults
from pagefold.engine.demo.reference_model import DOMAINS, Document, Model, canonical, encoded, normal
from pagefold.engine.stores.dead_letter_records import DeadLetterFilter
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.projections.streams import Stream, stream_id
from tests.support.postgres import PostgresServer
from tests.support.processes import Acknowledgement, eventually

ROUNDS_VARIABLE = "PAGEFOLD_SOAK_ROUNDS"
SEED_VARIABLE = "PAGEFOLD_SOAK_SEED"

SOAK_ROUNDS = int(os.environ.get(ROUNDS_VARIABLE, "40"))
SOAK_SEED = int(os.environ.get(SEED_VARIABLE, "0")) or random.SystemRandom().randrange(1, 10**9)
"""The seed of this soak run; it is part of the tests' names, so that a failure can be reproduced."""

BEYOND_ALL = 2**62
READ_AT_ONCE = 5_000
LEASE_SECONDS = 1.0

WORK = """
[work]
batch = 2000
poll_seconds = 0.1
lease_seconds = {lease}
"""

Key = tuple[str, int]


def on(*stores: str, seed: int = 7) -> pytest.MarkDecorator:
    """The stores of the fixture `scene`, and the seed of a test."""
    names = [f"{store}-{seed}" for store in stores]
    return pytest.mark.parametrize("scene", [(store, seed) for store in stores], ids=names, indirect=True)


class Scene:
    """A store, its configuration in `config`, and deliveries: lines for appenders, the model for the checks."""

    def __init__(self, folder: Path, url: str, *, seed: int = 7) -> None:
        self.folder = folder
        self.seed = seed
        self.url = url
        self.on_sqlite = url.startswith("sqlite:")
        self.config = folder / "pagefold.toml"
        text = sample_shop.Shop(seed, 1).config(url) + WORK.format(lease=LEASE_SECONDS)
        self.config.write_text(text, encoding="utf-8")
        self.settings = Config.load(self.config)
        self._document: dict[str, Any] = tomllib.loads(text)

    @classmethod
    @contextmanager
    def of(cls, request: pytest.FixtureRequest, folder: Path) -> Iterator[Self]:
        """The scene that `on` describes: on SQLite, or in a new database on the server of `durable_server`."""
        store, seed = request.param
        if store == "sqlite":
            yield cls(folder, f"sqlite:///{folder}/store", seed=seed)
            return
        server: PostgresServer = request.getfixturevalue("durable_server")
        url = server.create_database()
        yield cls(folder, url, seed=seed)
        server.drop_database(url)

    def deliveries(self, skus: int, changes: int, faults: Faults | None = None) -> list[Arrival]:
        """A shop's catalog and its changes, in order of arrival."""
        shop = sample_shop.Shop(self.seed, skus)
        events = itertools.chain(shop.catalog(), shop.changes(changes))
        return list(inject_faults(events, faults or Faults(), self.seed))

    def write(self, deliveries: Sequence[Arrival], name: str = "lines") -> Path:
        """Writes the lines to a file."""
        file = self.folder / f"{name}.ndjson"
        file.write_bytes(b"".join(delivery.line + b"\n" for delivery in deliveries))
        return file

    def model(self, deliveries: Sequence[Arrival]) -> Model:
        """The model, after all of them were accepted or rejected as expected."""
        model = Model(self._document)
        for delivery in deliveries:
            if delivery.event is not None:
                assert model.submit(delivery.event) == delivery.expected
        return model


def key_of(event: Document) -> Key:
    """The key of an event in the log."""
    stream = Stream(normal(event["sku"]), event["channel"], event["type"], event["source"])
    return stream_id(stream), event["sourceVersion"]


def content_of(event: Document) -> bytes:
    """The content of an event, in a form that is equal for equal contents."""
    return encoded(None if event["payload"] is None else canonical(event["payload"]))


def payload_of(event: StoredEvent) -> bytes:
    """A payload of the log, in that form."""
    payload = orjson.loads(event.state)["payload"]
    return encoded(None if payload is None else canonical(payload))


async def log_of(shop: Shop) -> list[StoredEvent]:
    """What sources sent, by position: the whole log but the configuration."""
    log: list[StoredEvent] = []
    while page := await shop.store.records.notifications(
        log[-1].notification_id + 1 if log else 1, BEYOND_ALL, (), READ_AT_ONCE
    ):
        log += page
    return [event for event in log if event.topic != TOPIC]


def judge_acknowledgements(deliveries: Sequence[Arrival], results: Sequence[Acknowledgement], *, again: bool) -> None:
    """Each line has the right answer. `again`: lines were sent again, and may be duplicates."""
    for line, outcome, position in results:
        expected = deliveries[line].expected
        known = again and expected == "appended" and outcome == "duplicate"
        assert outcome == expected or known, f"line {line}: {outcome} in place of {expected}"
        assert (position is None) == (outcome == "rejected")


def judge_log(log: Sequence[StoredEvent], deliveries: Sequence[Arrival], results: Sequence[Acknowledgement]) -> None:
    """Each acknowledged event is at its position; there is no event that was not sent, and none twice."""
    positions = [event.notification_id for event in log]
    assert positions == sorted(set(positions))
    true = {key_of(each.event): content_of(each.event) for each in deliveries if _is_first(each) and each.event}
    standing: dict[Key, StoredEvent] = {}
    for event in log:
        key = (event.originator_id, event.originator_version)
        assert key not in standing, f"{key} stands in the log twice"
        assert payload_of(event) == true[key], f"{key} says something else in the log"
        standing[key] = event
    for line, outcome, position in results:
        event_sent = deliveries[line].event
        if outcome != "rejected" and event_sent is not None:
            key = key_of(event_sent)
            assert key in standing, f"line {line} was acknowledged as {outcome}, and {key} is not in the log"
            assert standing[key].notification_id == position, f"line {line} does not stand where it was said to"


def _is_first(delivery: Arrival) -> bool:
    return delivery.expected == "appended"


async def judge_pages(shop: Shop, model: Model) -> None:
    """Every page equals the model's, byte for byte, and there is no other page."""
    expected = set(model.pages())
    pages = shop.store.pages.keys()
    assert {key async for key in pages} == expected
    for sku, channel in sorted(expected):
        for disabled in (True, False):
            page = await shop.pages.get_json(sku, channel, disabled=disabled)
            assert page == model.page(sku, channel, disabled=disabled), f"page {sku} {channel}"


async def judge_counters(shop: Shop, model: Model) -> None:
    """Nothing lags, and applied, stale and dead add up to the number of events."""
    status = await shop.status()
    assert status.lag_events == 0
    assert [each.domain for each in status.domains] == list(DOMAINS)
    for each in status.domains:
        assert each.applied + each.stale + each.dead == model.events(each.domain), each
        assert each.dead == each.dead_letters == 0
        assert each.checkpoint <= each.log_end


async def judge_conflicts(shop: Shop, deliveries: Sequence[Arrival]) -> None:
    """Every conflict is in dead letters, once, however often it was sent."""
    kept = await shop.store.dead_letters.newest(DeadLetterFilter("ingest"), limit=READ_AT_ONCE)
    expected = [each.event for each in deliveries if each.expected == "conflict" and each.event is not None]
    assert sorted((each.originator_id, each.originator_version) for each in kept) == sorted(map(key_of, expected))


async def judge(shop: Shop, model: Model, deliveries: Sequence[Arrival], results: Sequence[Acknowledgement]) -> None:
    """Every check, once the faults have ended and the workers had time."""
    await eventually(lambda: caught_up(shop), "lag 0", 30)
    judge_log(await log_of(shop), deliveries, results)
    await judge_counters(shop, model)
    await judge_conflicts(shop, deliveries)
    await judge_pages(shop, model)


async def caught_up(shop: Shop) -> bool:
    """Whether the workers have caught up: each checkpoint is at the end of the log."""
    status = await shop.status()
    return all(each.checkpoint == each.log_end for each in status.domains)


async def holders(shop: Shop) -> set[int]:
    """The process numbers of the workers that hold the domains."""
    return {process_of(each.holder) for each in await shop.store.coordination.checkpoints() if each.holder}


def process_of(holder: str) -> int:
    """The process of a holder, `host:process:token`; -1 if it has none."""
    parts = holder.split(":")
    return int(parts[1]) if len(parts) > 2 and parts[1].isdigit() else -1
