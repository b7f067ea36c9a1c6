"""Redis and Valkey as targets: the real servers, Valkey of a wheel and Redis of Debian."""

from collections.abc import Iterator

import pytest
from redis.asyncio import Redis

from pagefold.engine.configuration.target_config import RedisTargetConfig, TargetConfig
from pagefold.engine.delivery.kind_table import open_kind
from pagefold.engine.delivery.outside import Outside
from pagefold.engine.delivery.target_errors import TargetUnreadable
from pagefold.engine.delivery.target_kind import PageKey, Taken, TargetKind, Unavailable
from pagefold.engine.errors import ConfigurationError
from tests.support.message_servers import ServerProgram, redis_program, redis_server, valkey_program
from tests.support.other_protocol import OTHERS, server_that_says
from tests.support.target_items import hostile_skus, page_item, pages, withdrawal

PASSWORD = "a-password-of-this-shop"  # noqa: S105  # of the server of these tests


@pytest.fixture(scope="module", params=["valkey", "redis"])
def server(request: pytest.FixtureRequest) -> Iterator[ServerProgram]:
    """A server with a password and little memory."""
    program = valkey_program() if request.param == "valkey" else redis_program()
    if program is None:
        pytest.skip("needs Redis: on Debian and Ubuntu, apt-get install redis-server")
    with redis_server(program, "--requirepass", PASSWORD, "--maxmemory", "8mb") as started:
        yield started


def target_of(server: ServerProgram, *, secret: str = PASSWORD, timeout: float = 5.0, **settings: object) -> TargetKind:
    """A target at a server of this machine."""
    config = RedisTargetConfig(
        url=f"redis://127.0.0.1:{server.port}/0",
        password_variable="PASSWORD",  # noqa: S106  # the name of a variable
        **settings,  # type: ignore[arg-type]  # keys of the table
    )
    target = TargetConfig(redis=config, timeout_seconds=timeout)
    return open_kind("shop", target, Outside({"PASSWORD": secret}))


def client_of(server: ServerProgram) -> Redis:
    """A client of its own."""
    return Redis(host="127.0.0.1", port=server.port, password=PASSWORD)


async def test_pages_and_withdrawals(server: ServerProgram) -> None:
    """A batch has an answer for each page; keys hold the documents as they are; an emptied server can be filled."""
    items = pages(3)
    async with target_of(server) as target, client_of(server) as client:
        assert (await target.deliver(items)).items == [Taken("OK")] * 3
        assert await client.get("page:web-de:S1") == items[1].document
        assert await target.read([each.page for each in items]) == {each.page: each.tag for each in items}
        answers = await target.deliver([withdrawal("S1"), withdrawal("never"), page_item("S2", b"{}")])
        assert answers.items == [Taken("OK"), Taken("nothing was there"), Taken("OK")]
        assert set(await target.read([each.page for each in items]) or {}) == {items[0].page, items[2].page}
        await client.flushall()
        assert await target.read([each.page for each in items]) == {}
        assert await target.read([]) == {}
        await target.deliver(items)
        assert await client.dbsize() == 3


async def test_a_page_that_goes_back(server: ServerProgram) -> None:
    """A, then B, then A: the key holds A."""
    versions = [page_item("A", body, position) for body, position in ((b"1", 1), (b"2", 2), (b"1", 3))]
    async with target_of(server) as target:
        for version in versions:
            await target.deliver([version])
        assert await target.read([versions[0].page]) == {versions[0].page: versions[2].tag}


async def test_hostile_skus(server: ServerProgram) -> None:
    """Each has a key of its own."""
    items = [page_item(sku) for sku in hostile_skus()]
    async with target_of(server) as target, client_of(server) as client:
        await client.flushall()
        await target.deliver(items)
        assert await client.dbsize() == len(items)
        assert await target.read([each.page for each in items]) == {each.page: each.tag for each in items}


async def test_changes_are_published(server: ServerProgram) -> None:
    """Of each change, by its key; keys may expire."""
    async with target_of(server, publish="changes", expire_seconds=60) as target, client_of(server) as client:
        async with client.pubsub() as listener:
            await listener.subscribe("changes")
            await target.deliver([page_item("A"), withdrawal("B")])
            received: list[bytes] = []
            async for message in listener.listen():
                received += [message["data"]] if message["type"] == "message" else []
                if len(received) == 2:
                    break
        assert received == [b"page:web-de:A", b"page:web-de:B"]
        assert 0 < await client.ttl("page:web-de:A") <= 60


async def test_out_of_memory(server: ServerProgram) -> None:
    """The target's fault; withdrawals are taken, and pages again when there is memory."""
    large = [page_item(f"L{each}", b'"%b"' % (b"x" * 1_000_000)) for each in range(20)]
    async with target_of(server) as target, client_of(server) as client:
        answers = (await target.deliver(large)).items
        refused = [each for each in answers if isinstance(each, Unavailable)]
        assert refused
        assert refused[0].received is False
        assert "used memory" in refused[0].text
        assert not isinstance((await target.deliver([withdrawal("L0")])).items[0], Unavailable)
        await client.flushall()
        assert (await target.deliver([page_item("A")])).items == [Taken("OK")]


async def test_a_wrong_password(server: ServerProgram) -> None:
    """The target's fault, without the password."""
    async with target_of(server, secret="wrong-secret") as target:  # noqa: S106  # wrong on purpose
        [answer] = (await target.deliver([page_item()])).items
        assert isinstance(answer, Unavailable)
        assert "wrong-secret" not in answer.text
        with pytest.raises(TargetUnreadable, match="target shop: "):
            await target.read([PageKey("A", "web-de")])


async def test_a_server_that_comes_back() -> None:
    """Away: the target's fault, at once; the next delivery after that is taken."""
    with redis_server(valkey_program(), "--requirepass", PASSWORD) as server:
        async with target_of(server) as target:
            assert (await target.deliver([page_item()])).items == [Taken("OK")]
            server.kill()
            assert all(isinstance(each, Unavailable) for each in (await target.deliver(pages(2))).items)
            server.start()
            assert (await target.deliver(pages(2))).items == [Taken("OK")] * 2


@pytest.mark.parametrize("answer", OTHERS)
async def test_another_protocol(answer: bytes) -> None:
    """An answer that is not that of Redis, half of one, none: the target's fault."""
    async with server_that_says(answer) as port:
        config = RedisTargetConfig(url=f"redis://127.0.0.1:{port}")
        async with open_kind("shop", TargetConfig(redis=config, timeout_seconds=0.3)) as target:
            [found] = (await target.deliver([page_item()])).items
            assert isinstance(found, Unavailable)


async def test_an_address_of_another_kind() -> None:
    """It is refused before anything is sent."""
    with pytest.raises(ConfigurationError, match=r"targets\.shop\.redis\.url"):
        open_kind("shop", TargetConfig(redis=RedisTargetConfig(url="https://cache.example")))
