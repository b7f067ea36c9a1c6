"""Kafka as a target: a real broker, Tansu, of a wheel."""

import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # of its documentation

from pagefold.engine.configuration.target_config import KafkaTargetConfig, TargetConfig
from pagefold.engine.delivery.kind_table import open_kind
from pagefold.engine.delivery.outside import Outside
from pagefold.engine.delivery.target_kind import PageKey, Refused, Taken, TargetKind, Unavailable
from pagefold.engine.errors import ConfigurationError
from tests.support.message_servers import ServerProgram, kafka_broker
from tests.support.other_protocol import OTHERS, server_that_says
from tests.support.target_items import hostile_skus, page_item, pages, withdrawal

numbers = count(1)


@pytest.fixture(scope="module")
def broker() -> Iterator[ServerProgram]:
    """A broker."""
    with kafka_broker() as started:
        yield started


@pytest.fixture
def topic(broker: ServerProgram) -> str:
    """A new topic with one partition."""
    name = f"pages-{next(numbers)}"
    make_topic(broker, name)
    return name


def make_topic(broker: ServerProgram, name: str) -> None:
    """Makes a compacted topic."""
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{broker.port}", "log_level": 0})
    [made] = admin.create_topics([NewTopic(name, 1, 1, config={"cleanup.policy": "compact"})]).values()
    made.result(10)


def target_of(port: int, topic: str, timeout: float = 10.0, **settings: object) -> TargetKind:
    """A target at a broker of this machine."""
    config = KafkaTargetConfig(servers=[f"127.0.0.1:{port}"], topic=topic, **settings)  # type: ignore[arg-type]  # keys
    return open_kind("shop", TargetConfig(kafka=config, timeout_seconds=timeout), Outside({"PASSWORD": "a-secret"}))


def messages(broker: ServerProgram, topic: str, number: int) -> list[tuple[str, bytes | None, dict[str, str]]]:
    """The first messages of a topic: key, value and headers."""
    consumer = Consumer({"bootstrap.servers": f"127.0.0.1:{broker.port}", "group.id": "tests", "log_level": 0})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[tuple[str, bytes | None, dict[str, str]]] = []
    until = time.monotonic() + 10
    while len(found) < number and time.monotonic() < until:
        message = consumer.poll(0.5)
        if message is not None and message.error() is None:
            headers = {str(name): _text(value) for name, value in dict(message.headers() or []).items()}
            value = message.value()
            found.append((_text(message.key()), None if value is None else _text(value).encode(), headers))
    consumer.close()
    return found


def _text(value: str | bytes | None) -> str:
    assert isinstance(value, bytes)
    return value.decode()


async def test_pages_and_withdrawals(broker: ServerProgram, topic: str) -> None:
    """A message each, in their order, with the delivery's key; a withdrawal has no value. It cannot be read back."""
    items = [*pages(2), withdrawal("S0"), page_item("S1", b"{}", 44)]
    async with target_of(broker.port, topic) as target:
        assert (await target.deliver(items)).items == [Taken(f"partition 0 offset {each}") for each in range(4)]
        assert await target.read([PageKey("S1", "web-de")]) is None
    assert messages(broker, topic, 4) == [
        (
            f"web-de/{each.page.sku}",
            each.document,
            {"tag": each.tag, "sequence": str(each.position), "idempotency-key": each.key},
        )
        for each in items
    ]


async def test_a_page_that_goes_back(broker: ServerProgram, topic: str) -> None:
    """A, then B, then A: three messages, each with an idempotency key of its own."""
    versions = [page_item("A", body, position) for body, position in ((b"1", 1), (b"2", 2), (b"1", 3))]
    async with target_of(broker.port, topic) as target:
        for version in versions:
            await target.deliver([version])
    found = messages(broker, topic, 3)
    assert [value for _, value, _ in found] == [b"1", b"2", b"1"]
    assert len({headers["idempotency-key"] for _, _, headers in found}) == 3


async def test_hostile_skus(broker: ServerProgram, topic: str) -> None:
    """Each has a key of its own."""
    items = [page_item(sku) for sku in hostile_skus()]
    async with target_of(broker.port, topic) as target:
        assert all(isinstance(each, Taken) for each in (await target.deliver(items)).items)
    assert [key for key, _, _ in messages(broker, topic, len(items))] == [f"web-de/{each.page.sku}" for each in items]


async def test_too_large(broker: ServerProgram, topic: str) -> None:
    """Beyond what the client is set to send: refused; the other page of the batch is taken."""
    async with target_of(broker.port, topic, settings={"message.max.bytes": "20000"}) as target:
        large, taken = (await target.deliver([page_item("L", b"x" * 30_000), page_item("S")])).items
        assert isinstance(large, Refused)
        assert large.text.startswith("MSG_SIZE_TOO_LARGE")
        assert isinstance(taken, Taken)


async def test_a_broker_that_is_away_and_comes_back() -> None:
    """The target's fault, with the reason; what was given up does not arrive later."""
    with kafka_broker() as broker:
        make_topic(broker, "pages")
        async with target_of(broker.port, "pages", timeout=1.0) as target:
            broker.kill()
            [answer] = (await target.deliver(pages(1, 50))).items
            assert isinstance(answer, Unavailable)
            assert "Connect" in answer.text or "_ALL_BROKERS_DOWN" in answer.text
            broker.start()
            with suppress(KafkaException):  # the client may have made it
                make_topic(broker, "pages")
            taken: list[object] = []
            for position in range(51, 71):
                taken = list((await target.deliver(pages(1, position))).items)
                if isinstance(taken[0], Taken):
                    break
            assert taken == [Taken("partition 0 offset 0")]


async def test_another_protocol() -> None:
    """An answer that is not that of Kafka: the target's fault."""
    async with server_that_says(OTHERS[0]) as port, target_of(port, "pages", timeout=0.5) as target:
        [found] = (await target.deliver([page_item()])).items
        assert isinstance(found, Unavailable)


async def test_settings_that_are_refused() -> None:
    """Before anything is sent, and without secrets."""
    with pytest.raises(
        ConfigurationError, match=r'targets\.shop\.kafka\.settings: No such configuration property: "nothing"'
    ):
        target_of(1, "pages", settings={"nothing": "1"})
    with pytest.raises(ConfigurationError) as error:
        target_of(1, "pages", setting_variables={"security.protocol": "PASSWORD"})
    assert "a-secret" not in str(error.value)
