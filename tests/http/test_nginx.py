"""nginx in front of `pagefold serve`, with the configuration of docs/operations.md."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import httpx2
import pytest

from tests.support.command_line import event, lines_file, product, run_pagefold, settle
from tests.support.documents import ROOT, blocks
from tests.support.nginx import MISSING_MESSAGE, nginx, nginx_program
from tests.support.servers import Server, serving, within

pytestmark = pytest.mark.skipif(nginx_program() is None, reason=MISSING_MESSAGE)

PAGE = "/v1/pages/web-de/A"
STATUS = "x-cache-status"
CONFIGURATION = """
[sources.pim]
domains = ["catalog"]
[sources.erp]
domains = ["pricing"]
[channels.web-de]
locale = "de-DE"
currency = "EUR"
requires = ["catalog", "pricing"]
[http]
"""

Configure: TypeAlias = Callable[[str], None]


@pytest.fixture
def kind() -> str:
    """SQLite alone: nginx does not know the difference."""
    return "sqlite"


@pytest.fixture
def configure(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """A function of the keys of `[http]`. The store has a page and a token."""
    place = settle(tmp_path, store_url, monkeypatch)

    def write(http: str) -> None:
        (place / "pagefold.toml").write_text(CONFIGURATION + http, encoding="utf-8")

    write("")
    ingest(product(), event())
    assert run_pagefold("work", "--once").code == 0
    assert run_pagefold("tokens", "create", "--scope", "read").code == 0
    return write


def ingest(*events: object) -> None:
    """Appends events, which a running server folds."""
    assert run_pagefold("ingest", lines_file(Path("events.ndjson"), *events)).code == 0


@contextmanager
def cached(more: str = "") -> Iterator[tuple[Server, httpx2.Client]]:
    """A server, and a client of the nginx in front of it, which may have more directives for page reads."""
    folder = Path("nginx").absolute()
    folder.mkdir()
    with serving("--work") as server, nginx(folder, server.url, more) as url, httpx2.Client(base_url=url) as client:
        yield server, client


def test_a_page_comes_from_the_cache(configure: Configure) -> None:
    """Byte for byte, with its tag, whatever the query and the headers. Browsers ask each time, and get 304."""
    configure('reads = "open"')
    with cached() as (server, client):
        own = server.get(PAGE)
        assert own.headers["cache-control"].startswith("public, max-age=60")
        headers = {"cookie": "a=1", "authorization": "Bearer wrong", "accept-encoding": "br"}
        found = [client.get(PAGE), client.get(f"{PAGE}?utm=1", headers=headers)]
        assert [each.headers[STATUS] for each in found] == ["MISS", "HIT"]
        for each in found:
            assert (each.status_code, each.content) == (200, own.content)
            assert each.headers["etag"] == own.headers["etag"]
            assert each.headers.get_list("cache-control") == ["no-cache"]
            assert "vary" not in each.headers
        unchanged = client.get(PAGE, headers={"if-none-match": own.headers["etag"]})
        assert (unchanged.status_code, unchanged.headers[STATUS], unchanged.content) == (304, "HIT", b"")
        assert client.head(PAGE).headers[STATUS] == "HIT"


def test_a_page_is_revalidated_when_it_is_no_longer_fresh(configure: Configure) -> None:
    """Pagefold is asked by `If-None-Match`, and sends the page only if it has changed."""
    configure('reads = "open"\ncache_seconds = 1')
    with cached() as (server, client):
        first = client.get(PAGE)
        time.sleep(2.1)
        again = client.get(PAGE)
        assert [each.headers[STATUS] for each in (first, again, client.get(PAGE))] == ["MISS", "REVALIDATED", "HIT"]
        assert again.content == first.content
        ingest(event(version=2, amount="2.00"))
        within(10, "the new price is shown", lambda: b'"2.00"' in client.get(PAGE).content)
        assert client.get(PAGE).headers["etag"] == server.get(PAGE).headers["etag"] != first.headers["etag"]


def test_a_scheduled_price_is_shown_in_time(configure: Configure) -> None:
    """A page is fresh until a scheduled price begins, and a second longer: nginx counts whole seconds."""
    configure('reads = "open"\ncache_seconds = 3600')
    with cached() as (server, client):
        begins = datetime.now(UTC) + timedelta(seconds=4)
        sale = {"amount": "0.50", "from": begins.isoformat()}
        ingest(event(version=2, payload={"currency": "EUR", "amount": "1.00", "scheduled": [sale]}))
        within(10, "it is folded", lambda: b"scheduled" in server.get(PAGE).content)
        assert b"scheduled" in client.get(PAGE).content
        time.sleep(max(0.0, (begins - datetime.now(UTC)).total_seconds()) + 1)
        assert client.get(PAGE).headers[STATUS] != "HIT"


def test_pages_are_shown_while_pagefold_is_down(configure: Configure) -> None:
    """Those that are in the cache, also a product that was disabled meanwhile; of others it is an error."""
    configure('reads = "open"\ncache_seconds = 1')
    ingest(product("B"), event("B"))
    with cached() as (server, client):
        pages = [PAGE, PAGE.replace("A", "B")]
        within(10, "both are shown", lambda: all(client.get(each).status_code == 200 for each in pages))
        ingest(product("B", 2, enabled=False))
        within(10, "it is disabled", lambda: client.get(pages[1]).status_code == 410)
        server.ended()
        time.sleep(2.1)
        for page in pages:
            stale = client.get(page)
            assert (stale.status_code, stale.headers[STATUS]) == (200, "STALE")
        assert client.get("/v1/pages/web-de/C").status_code == 502


def test_a_missing_page_is_not_cached(configure: Configure) -> None:
    """It is shown as soon as it exists."""
    configure('reads = "open"\ncache_seconds = 3600')
    with cached() as (_, client):
        assert [client.get("/v1/pages/web-de/B").status_code for _ in range(2)] == [404, 404]
        ingest(product("B"), event("B"))
        within(10, "it is shown", lambda: client.get("/v1/pages/web-de/B").status_code == 200)


def test_nothing_but_page_reads_passes(configure: Configure) -> None:
    """Not even without a token, where Pagefold allows everything to its own machine."""
    configure('reads = "open"')
    with cached() as (_, client):
        for path in ("/", "/metrics", "/v1/pages/web-de", "/v1/pages:batchGet", "/v1/events", f"{PAGE}/x", "/healthz"):
            assert client.get(path).headers["content-type"] == "text/html", path
            assert client.get(path).status_code == 404
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert client.request(method, PAGE).status_code == 403
            assert client.request(method, "/v1/events").status_code == 404
        assert client.get("/v1/pages/web-de/A%2FB").headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("status", ["401", "200"])
def test_pages_that_need_a_token_are_not_cached(configure: Configure, status: str) -> None:
    """They are private. The visitor's token does not pass; an nginx with a token of its own asks Pagefold each time."""
    configure('reads = "token"')
    token = json.loads(run_pagefold("tokens", "create", "--scope", "read", "--json").out)["secret"]
    own = f'proxy_set_header Authorization "Bearer {token}";' if status == "200" else ""
    with cached(own) as (_, client):
        found = [client.get(PAGE, headers={"authorization": f"Bearer {token}"}) for _ in range(2)]
        assert [(str(each.status_code), each.headers[STATUS]) for each in found] == [(status, "MISS")] * 2


def test_a_stream_of_changes_passes_at_once(configure: Configure) -> None:
    """An event arrives while the stream is open: nothing waits for a full buffer. Without a token there is none."""
    configure('reads = "open"')
    [(_, location)] = blocks((ROOT / "docs/feed.md").read_text("utf-8"), "nginx")
    token = json.loads(run_pagefold("tokens", "create", "--scope", "read", "--json").out)["secret"]
    folder = Path("nginx").absolute()
    folder.mkdir()
    with serving("--work") as server, nginx(folder, server.url, locations=location) as url:
        head = {"accept": "text/event-stream", "authorization": f"Bearer {token}"}
        address = f"{url}/v1/changes?after=now"
        with httpx2.stream("GET", address, headers=head, timeout=20.0) as stream:
            assert stream.headers["content-type"] == "text/event-stream"
            ingest(event(version=2))
            assert next(line for line in stream.iter_lines() if line.startswith("event:")) == "event: change"
        assert httpx2.post(address, headers=head).status_code == 403
