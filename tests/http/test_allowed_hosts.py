"""A server without tokens, where every local caller may do everything, answers only to this machine's names."""

import httpx2
import pytest

import pagefold
from pagefold import Shop
from pagefold.engine.http.allowed_hosts import MAX_REMEMBERED_HOSTS, AllowedHosts
from pagefold.engine.http.authorization import EVERYTHING, READS
from pagefold.engine.http.fast_path import FastPageReads
from tests.http.test_connection_limits import Place, status
from tests.http.test_fast_path import CLOSE, DATE, UNNAMED
from tests.support.command_line import event, on_sqlite
from tests.support.http_clients import client_of, problem_in, served, service_of
from tests.support.small_shop import SKU, catalog, configured, everything, say

OURS = (b"localhost", b"LOCALHOST:8080", b"localhost.", b"127.0.0.1", b"127.9.8.7:1", b"[::1]", b"[::1]:8080")
OTHERS = (
    b"shop.example",
    b"shop.example:8080",
    b"localhost.shop.example",
    b"127.0.0.1.shop.example",
    b"127.0.0.1@shop.example",
    b"10.0.0.1",
    b"0.0.0.0",
    b"[::2]",
    b"[::1",
    b"[::1]x",
    b"localhost:80:80",
    b"localhost x",
    b"::1:80",
    b"",
    b"\xff",
)


@pytest.mark.parametrize("host", [*OURS, *OTHERS])
def test_names_of_this_machine(host: bytes) -> None:
    """A name of this machine, at any port; not a name that merely contains one."""
    for hosts in (AllowedHosts([]), AllowedHosts(["shop.test"])):
        assert hosts.allows(host) is hosts.allows(host) is (host in OURS)


def test_names_of_the_configuration() -> None:
    """They are compared without case, and completely."""
    hosts = AllowedHosts(["Shop.test", "[fe80::1]", "10.0.0.1"])
    for host in (b"shop.test", b"SHOP.TEST:80", b"shop.test.", b"[FE80::1]:80", b"10.0.0.1:8080"):
        assert hosts.allows(host)
    for host in (b"shop.test.evil", b"a.shop.test", b"10.0.0.11"):
        assert not hosts.allows(host)


def test_remembered_hosts_are_bounded() -> None:
    """However many ports are named."""
    hosts = AllowedHosts([])
    for port in range(MAX_REMEMBERED_HOSTS * 2):
        assert hosts.allows(b"localhost:%d" % port)
        assert not hosts.allows(b"shop.example:%d" % port)
    assert len(hosts._known) == MAX_REMEMBERED_HOSTS


@pytest.mark.parametrize("fast", [True, False])
async def test_a_page_needs_the_name_of_this_machine(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, *, fast: bool
) -> None:
    """On either path: 421, as a problem. A request without `Host`, as HTTP/1.0 allows, does not come from a browser."""
    await say(shop, catalog("a"))
    if not fast:
        monkeypatch.setattr(FastPageReads, "answer", lambda *_: None)
    service = service_of(shop, EVERYTHING, reads_open=True)
    async with served(service) as (host, port):
        place = Place(host, port)
        for name in OURS:
            assert status(await place.says(UNNAMED + b"host: %b\r\n" % name + CLOSE)) == 200
        assert status(await place.says(UNNAMED.replace(b"1.1", b"1.0") + CLOSE)) == 200
        answer = await place.says(UNNAMED + b"host: shop.example\r\n" + CLOSE)
        assert status(answer) == 421
        assert b"application/problem+json" in answer
        assert b"answers only to localhost" in answer
        assert b"shop.example" not in DATE.sub(b"", answer)
        await place.close()
    assert service.traffic.reads == len(OURS) + 1


@on_sqlite
async def test_nothing_is_done_under_another_name(shop: Shop) -> None:
    """Whatever the route, known or not, nothing is appended."""
    async with client_of(service_of(shop, EVERYTHING, reads_open=True)) as client:
        evil = {"host": "shop.example"}
        for method, path in (("GET", "/healthz"), ("GET", "/metrics"), ("GET", "/nothing"), ("OPTIONS", "/v1/events")):
            assert problem_in(await client.request(method, path, headers=evil))["status"] == 421
        answer = await client.post("/v1/events", json=event(), headers=evil)
        assert problem_in(answer)["status"] == 421
    assert await everything(shop.store) == []


@on_sqlite
@pytest.mark.parametrize("anonymous", [READS, None])
async def test_a_server_with_tokens_answers_to_any_name(shop: Shop, anonymous: object) -> None:
    """A browser may do nothing there without a token that others may not."""
    await say(shop, catalog("a"))
    service = service_of(shop, None, reads_open=anonymous is not None)
    async with client_of(service) as client:
        answer = await client.get(f"/v1/pages/web-de/{SKU}", headers={"host": "shop.example"})
        assert answer.status_code == (200 if anonymous is not None else 401)


@on_sqlite
async def test_a_server_that_is_closed_asks_for_a_token_and_no_name(shop: Shop) -> None:
    """After the first token, the token counts."""
    service = service_of(shop, EVERYTHING, reads_open=True)
    async with client_of(service) as client:
        evil = {"host": "shop.example"}
        assert (await client.get("/metrics", headers=evil)).status_code == 421
        service.restrict(None)
        assert (await client.get("/metrics", headers=evil)).status_code == 401


@on_sqlite
async def test_other_names_are_configured(store_url: str) -> None:
    """A proxy on this machine may use the shop's own name."""
    config = configured(store_url, http={"hosts": ["shop.example"]})
    async with pagefold.open(config) as shop, client_of(service_of(shop)) as client:
        assert (await health(client, "shop.example:80")).status_code == 200
        assert (await health(client, "evil.example")).status_code == 421


async def health(client: httpx2.AsyncClient, host: str) -> httpx2.Response:
    """The response to a request with that host."""
    return await client.get("/healthz", headers={"host": host})
