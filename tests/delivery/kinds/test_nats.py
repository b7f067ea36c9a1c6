"""NATS JetStream as a target: the real server, of a wheel."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import nats
import pytest
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from pagefold.engine.configuration.target_config import NatsTargetConfig, TargetConfig
from pagefold.engine.delivery.kind_table import open_kind
from pagefold.engine.delivery.kinds.nats import subject_of
from pagefold.engine.delivery.outside import Outside
from pagefold.engine.delivery.target_errors import TargetUnreadable
from pagefold.engine.delivery.target_kind import PageKey, Refused, Taken, TargetKind, Unavailable
from tests.support.message_servers import ServerProgram, nats_server
from tests.support.other_protocol import OTHERS, server_that_says
from tests.support.processes import eventually
from tests.support.target_items import hostile_skus, page_item, pages, withdrawal

TOKEN = "a-token-of-this-shop"  # noqa: S105  # of the server of these tests
SUBJECT = "pagefold.{channel}.{sku}"


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProgram]:
    """A server with a token."""
    with nats_server("--auth", TOKEN) as started:
        yield started


def target_of(server: ServerProgram, *, secret: str = TOKEN, timeout: float = 5.0) -> TargetKind:
    """A target at a server of this machine."""
    config = NatsTargetConfig(servers=[f"nats://127.0.0.1:{server.port}"], token_variable="TOKEN")  # noqa: S106  # a name
    return open_kind("shop", TargetConfig(nats=config, timeout_seconds=timeout), Outside({"TOKEN": secret}))


@asynccontextmanager
async def stream_of(server: ServerProgram, **settings: object) -> AsyncIterator[JetStreamContext]:
    """A new stream."""
    client = await nats.connect(f"nats://127.0.0.1:{server.port}", token=TOKEN)
    stream = client.jetstream()
    try:
        await stream.add_stream(StreamConfig(name="PAGES", subjects=["pagefold.>"], **settings))  # type: ignore[arg-type]  # of the stream
        yield stream
        await stream.delete_stream("PAGES")
    finally:
        await client.close()


async def test_pages_and_withdrawals(server: ServerProgram) -> None:
    """A message each, with the id of the delivery; what is sent again is stored once; a stream can be emptied."""
    items = [*pages(2), withdrawal("gone")]
    async with stream_of(server) as stream, target_of(server) as target:
        assert (await target.deliver(items)).items == [Taken(f"PAGES {each}") for each in (1, 2, 3)]
        assert (await target.deliver(items[:1])).items == [Taken("PAGES 1, a duplicate")]
        message = await stream.get_msg("PAGES", 2)
        assert (message.subject, message.data) == ("pagefold.web-de.S1", items[1].document)
        assert message.headers == {"Nats-Msg-Id": items[1].key, "Pagefold-Tag": items[1].tag, "Pagefold-Sequence": "42"}
        assert ((await stream.get_msg("PAGES", 3)).headers or {})["Pagefold-Withdrawn"] == "true"
        keys = [each.page for each in items] + [PageKey("never", "web-de")]
        assert await target.read(keys) == {each.page: each.tag for each in items[:2]}
        await target.deliver([withdrawal("S0")])
        assert await target.read(keys) == {items[1].page: items[1].tag}
        await stream.purge_stream("PAGES")
        assert await target.read(keys) == {}


async def test_a_page_that_goes_back(server: ServerProgram) -> None:
    """A, then B, then A within the time in which the server remembers ids: three messages."""
    versions = [page_item("A", body, position) for body, position in ((b"1", 1), (b"2", 2), (b"1", 3))]
    async with stream_of(server) as stream, target_of(server) as target:
        for version in versions:
            await target.deliver([version])
        assert (await stream.stream_info("PAGES")).state.messages == 3
        assert await target.read([versions[0].page]) == {versions[0].page: versions[2].tag}


async def test_hostile_skus(server: ServerProgram) -> None:
    """Each has a subject of its own."""
    items = [page_item(sku) for sku in hostile_skus()]
    assert len({subject_of(SUBJECT, each.page) for each in items}) == len(items)
    assert subject_of(SUBJECT, PageKey("a.b *>ä", "web.de")) == "pagefold.web%2Ede.a%2Eb%20%2A%3E%C3%A4"
    async with stream_of(server), target_of(server) as target:
        assert all(isinstance(each, Taken) for each in (await target.deliver(items)).items)
        chosen = items[::50]
        assert await target.read([each.page for each in chosen]) == {each.page: each.tag for each in chosen}


async def test_too_large(server: ServerProgram) -> None:
    """Beyond what the server takes, or the stream: refused, and the others of the batch are taken."""
    items = [page_item("S0"), page_item("L", b"x" * 1024 * 1024), page_item("M", b"x" * 20_000)]
    async with stream_of(server, max_msg_size=10_000), target_of(server) as target:
        taken, large, medium = (await target.deliver(items)).items
        assert isinstance(taken, Taken)
        assert large == Refused("the server takes no message with more than 1048576 bytes")
        assert isinstance(medium, Refused)
        assert "message size exceeds maximum allowed" in medium.text


async def test_a_full_stream(server: ServerProgram) -> None:
    """One that takes no more, or is not there: the target's fault."""
    async with target_of(server, timeout=1.0) as target:
        async with stream_of(server, max_msgs=1, discard="new"):
            taken, full = (await target.deliver(pages(2))).items
            assert isinstance(taken, Taken)
            assert (
                full == Unavailable("APIError: nats: maximum messages exceeded", received=False)
                or "maximum" in full.text
            )
        [missing] = (await target.deliver(pages(1))).items
        assert isinstance(missing, Unavailable)
        assert await target.read([PageKey("A", "web-de")]) == {}


async def test_a_wrong_token(server: ServerProgram) -> None:
    """The target's fault, without the token."""
    async with target_of(server, secret="wrong-secret", timeout=2.0) as target:  # noqa: S106  # wrong on purpose
        [answer] = (await target.deliver([page_item()])).items
        assert isinstance(answer, Unavailable)
        assert "uthorization" in answer.text
        assert "wrong-secret" not in answer.text
        with pytest.raises(TargetUnreadable, match="target shop: "):
            await target.read([PageKey("A", "web-de")])


async def test_a_server_that_comes_back() -> None:
    """Away: the target's fault; the next delivery after that is taken, and nothing that was given up arrives later."""
    with nats_server("--auth", TOKEN) as server:
        async with stream_of(server) as stream, target_of(server, timeout=0.5) as target:
            await target.deliver(pages(1))
            server.kill()
            assert all(isinstance(each, Unavailable) for each in (await target.deliver(pages(2, 50))).items)
            assert all(isinstance(each, Unavailable) for each in (await target.deliver(pages(2, 51))).items)
            server.start()
            assert all(isinstance(each, Taken) for each in (await target.deliver(pages(2, 52))).items)
            await eventually(lambda: stream._nc.is_connected, "the client is connected again")
            assert (await stream.stream_info("PAGES")).state.messages == 3


@pytest.mark.parametrize("answer", OTHERS)
async def test_another_protocol(answer: bytes) -> None:
    """An answer that is not that of NATS, half of one, none: the target's fault."""
    async with server_that_says(answer) as port:
        config = NatsTargetConfig(servers=[f"nats://127.0.0.1:{port}"])
        async with open_kind("shop", TargetConfig(nats=config, timeout_seconds=0.3)) as target:
            [found] = (await target.deliver([page_item()])).items
            assert isinstance(found, Unavailable)
