"""Snapshots over HTTP: pagination of every form, failing servers, and servers that lead elsewhere."""

import gzip
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import anyio
import orjson
import pytest

from pagefold.engine.configuration import endpoint_config
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import ConfigurationError, SourceFailed
from pagefold.engine.snapshots import endpoint_client, http_snapshot, open_snapshot
from pagefold.engine.snapshots.request_limiter import RequestLimiter
from pagefold.engine.snapshots.snapshot import End
from tests.support.fake_endpoint import Answering, Asked, Reply, Server, serving
from tests.support.snapshot_fixtures import BEGIN, Read, configured, covered_in, end, prices, read

COMPLETE = End(complete=True)
TOKEN = "s3cr3t-t0k3n"  # noqa: S105  # it opens nothing
WITH_TOKEN = {"token_variable": "ERP_TOKEN"}


def at(server: Server, **settings: object) -> Config:
    """A snapshot at the server, without limits of pace."""
    return configured(**{"url": f"{server.url}/prices", "requests_per_second": 1000.0} | settings)


async def taken(answering: Answering, **settings: object) -> Read:
    """The rows read of a server with these responses."""
    async with serving(answering) as server:
        return await read(at(server, **settings))


ROWS = prices(25)


def by_cursor(asked: Asked) -> Reply:
    """Ten rows per page, with the cursor of the next one in the body."""
    start = int(asked.query.get("after", 0))
    following = start + 10 if start + 10 < len(ROWS) else None
    body = {"data": {"items": ROWS[start : start + 10], "next": following, "total": len(ROWS)}}
    return Reply(orjson.dumps(body))


BY_CURSOR = {"items": "data.items", "cursor": "data.next", "cursor_parameter": "after", "total": "data.total"}


def by_link(asked: Asked) -> Reply:
    """Ten rows per page, the body an array, with the next address in a header."""
    page = int(asked.query.get("page", 0))
    links = ['</first>; rel="first"'] + ([f'</prices?page={page + 1}>; rel="next last"'] if page < 2 else [])
    rows = orjson.dumps(ROWS[page * 10 : page * 10 + 10])
    return Reply(rows, headers={"link": ", ".join(links), "x-total-count": str(len(ROWS))})


def by_address(asked: Asked) -> Reply:
    """Ten rows per page, with a relative address in the body, and an end marker as the last row."""
    page = int(asked.path.rpartition("/")[2]) if asked.path[-1].isdigit() else 0
    rows = [
        *([BEGIN] if page == 0 else []),
        *ROWS[page * 10 : page * 10 + 10],
        *([end(len(ROWS))] if page == 2 else []),
    ]
    return Reply(orjson.dumps({"rows": rows, "more": f"/pages/{page + 1}" if page < 2 else ""}))


@pytest.mark.parametrize(
    ("answering", "settings"),
    [(by_cursor, BY_CURSOR), (by_link, {}), (by_address, {"items": "rows", "cursor": "more"})],
    ids=["cursor", "Link", "address"],
)
async def test_pages_are_followed_to_the_last(answering: Answering, settings: dict[str, object]) -> None:
    """Every row is read once, numbered, and the cursor of each page gives the rest."""
    async with serving(answering) as server:
        config = at(server, **settings)
        parsed = await read(config)
        assert [each.sku for each in parsed.events] == [row["sku"] for row in ROWS]
        assert [row.number for row in parsed.rows] == list(range(1, 26))
        assert (parsed.end, len(server.asked)) == (COMPLETE, 3)
        assert (parsed.taken_at is not None) == (answering is by_address)
        for number, batch in enumerate(parsed.batches, 1):
            rest = await read(config, batch.cursor)
            assert rest.rows == [row for later in parsed.batches[number:] for row in later.rows]
            assert (rest.end, rest.taken_at) == (COMPLETE, parsed.taken_at)


@pytest.mark.parametrize(("ends", "complete"), [(True, True), (False, False)])
async def test_a_page_that_leads_to_no_next_one_may_be_the_end(ends: bool, complete: bool) -> None:  # noqa: FBT001  # cases
    """Without a number of rows, that is a proof only where the configuration says so."""

    def answer(asked: Asked) -> Reply:
        reply = by_link(asked)
        return reply._replace(headers={"link": reply.headers["link"]})

    found = await taken(answer, link_ends=ends, stable=True)
    assert found.end is not None
    assert (len(found.rows), found.end.complete) == (25, complete)


async def test_the_identity_of_an_endpoint() -> None:
    """Its identity is its address; its name has no query, which may contain secrets."""
    config = configured(url="https://erp.example/prices?key=secret")
    async with open_snapshot(config, "erp") as snapshot, open_snapshot(config, "erp") as again:
        assert (snapshot.name, snapshot.unit) == ("https://erp.example/prices", "rows")
        assert (snapshot.written_at, snapshot.identity) == (None, again.identity)
        assert "secret" not in snapshot.identity


async def test_large_pages_make_several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch has a maximum number of rows; reading resumes in the middle of a page."""
    monkeypatch.setattr(http_snapshot, "BATCH_ROWS", 4)
    async with serving(by_cursor) as server:
        parsed = await read(at(server, **BY_CURSOR))
        assert [len(batch.rows) for batch in parsed.batches] == [4, 4, 2, 4, 4, 2, 4, 1]
        assert (parsed.batches[3].done, parsed.batches[3].total) == (14, 25)
        rest = await read(at(server, **BY_CURSOR), parsed.batches[3].cursor)
        assert rest.rows == parsed.rows[14:]
        assert rest.end == COMPLETE


async def test_the_next_page_is_fetched_while_one_is_used() -> None:
    """Exactly one page is read ahead."""
    async with serving(by_cursor) as server, open_snapshot(at(server, **BY_CURSOR), "erp") as snapshot:
        batches = snapshot.batches()
        await anext(batches)
        await anyio.sleep(0.2)
        assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("body", "headers", "settings", "reason"),
    [
        (ROWS, {"x-total-count": "25"}, {}, ""),
        (ROWS, {"x-total-count": "26"}, {}, "its total is 26 rows; it has 25"),
        (ROWS, {}, {}, "has neither an end marker nor a total"),
        ([*ROWS, end(25)], {}, {}, ""),
        ([*ROWS, end(25)], {"x-total-count": "26"}, {}, ""),
        ([*ROWS, end(24)], {}, {}, "counts 24 rows; it has 25"),
        ([end(0), *ROWS], {}, {}, "continues after its end marker"),
        ([], {"x-total-count": "0"}, {}, ""),
        ({"items": ROWS, "n": "25"}, {}, {"items": "items", "total": "n"}, ""),
        ({"items": ROWS, "n": None}, {}, {"items": "items", "total": "n"}, "has neither"),
        ({"items": ROWS, "next": "x"}, {}, {"items": "items", "cursor": "next", "cursor_parameter": "c"}, "repeats"),
    ],
)
async def test_how_a_snapshot_ends(
    body: object, headers: Mapping[str, str], settings: dict[str, object], reason: str
) -> None:
    """It is complete only with as many rows as its total or its end marker says."""
    found = await taken(lambda _: Reply(orjson.dumps(body), headers=headers), **settings)
    assert found.end is not None
    assert found.end.complete == (not reason)
    assert reason in found.end.reason


async def test_a_cursor_that_runs_in_a_circle_ends() -> None:
    """A page is not read twice, and pages without rows are not followed forever."""
    circle = {"items": "data.items", "cursor": "data.next", "cursor_parameter": "after"}
    pages = {"": "a", "a": "b", "b": "a"}

    def round_and_round(asked: Asked) -> Reply:
        return Reply(orjson.dumps({"data": {"items": ROWS[:1], "next": pages[asked.query.get("after", "")]}}))

    found = await taken(round_and_round, **circle)
    assert len(found.rows) == 3
    assert found.end is not None
    assert found.end.reason.startswith("the cursor repeats")

    def for_ever(asked: Asked) -> Reply:
        return Reply(orjson.dumps({"data": {"items": [], "next": int(asked.query.get("after", 0)) + 1}}))

    found = await taken(for_ever, **circle)
    assert found.end == End(complete=False, reason="100 consecutive pages were empty")


# --- failing servers --------------------------------------------------------------------------


def faltering(*replies: Reply) -> Answering:
    """These responses first, and then all rows."""
    rest = iter(replies)
    return lambda _: next(rest, Reply(orjson.dumps([*ROWS, end(25)])))


@pytest.mark.parametrize(
    "replies",
    [
        [Reply(status=status) for status in (408, 429, 500, 502, 503, 504, 500)],
        [Reply(b'[{"sku"', cut=3), Reply(b"[" * 1000, cut=0)],
        [Reply(status=429, headers={"retry-after": "0"}), Reply(status=503, headers={"retry-after": "soon"})],
    ],
    ids=["statuses", "cut off", "Retry-After"],
)
async def test_temporary_errors_are_retried(replies: list[Reply]) -> None:
    """Temporary statuses, and connections that break in the middle, are retried; no row is read twice."""
    found = await taken(faltering(*replies))
    assert (len(found.events), found.end) == (25, COMPLETE)


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_the_server_says_how_long_to_wait(form: str) -> None:
    """`Retry-After` is obeyed, as seconds and as a date."""
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)  # the server has to start first
    header = "1" if form == "seconds" else format_datetime(moment, usegmt=True)
    async with serving(faltering(Reply(status=429, headers={"retry-after": header}))) as server:
        await read(at(server))
        assert server.at[1] - server.at[0] >= 0.9


def test_the_wait_is_bounded() -> None:
    """`Retry-After` counts up to two minutes; a past date is now, and an invalid value is ignored."""
    assert endpoint_client._retry_after("86400") == 120
    assert endpoint_client._retry_after("Fri, 01 Jan 2100 00:00:00 GMT") == 120
    assert endpoint_client._retry_after("Fri, 01 Jan 1999 00:00:00 GMT") == 0
    assert [endpoint_client._retry_after(text) for text in (None, "", "-1", "soon", "\u0661")] == [None] * 5


@pytest.mark.parametrize(
    ("reply", "asked", "problem"),
    [
        (Reply(status=500), 8, "it answers 500 Internal Server Error, after all retries"),
        (Reply(b"[]", cut=1), 8, "the response is incomplete: RemoteProtocolError"),
        (Reply(status=404), 1, "it answers 404 Not Found"),
        (Reply(status=401), 1, "it answers 401 Unauthorized; it may need a token"),
        (Reply(status=302, headers={"location": "/there?key=secret"}), 1, "it answers 302 Found; configure"),
        (Reply(status=299, body=b""), 1, "the response is not JSON"),
        (Reply(b"<html>"), 1, "the response is not JSON"),
        (Reply(b"[" * 100_000), 1, "the response is not JSON"),
        (Reply(b'{"data":[],"next":1}'), 1, "expected an array as the response, which is an object with data, next"),
        (Reply(b"[]", headers={"content-encoding": "gzip"}), 1, "the response's compression is damaged"),
    ],
)
async def test_permanent_errors_fail(reply: Reply, asked: int, problem: str) -> None:
    """Immediately for permanent errors, else after eight attempts; the reason is short, and without a query."""
    async with serving(lambda _: reply) as server:
        with pytest.raises(SourceFailed) as caught:
            await read(at(server))
        assert len(server.asked) == asked
    assert caught.value.problem.startswith(problem)
    assert "secret" not in str(caught.value)


async def test_an_unreachable_server() -> None:
    """A server that cannot be reached fails the snapshot."""
    async with serving(by_link) as server:
        config = at(server)
    with pytest.raises(SourceFailed, match="the response is incomplete: ConnectError"):
        await read(config)


async def test_a_silent_server_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step of a request has a timeout."""
    monkeypatch.setattr(endpoint_config, "ATTEMPTS", 2)
    started = time.monotonic()
    with pytest.raises(SourceFailed, match="ReadTimeout"):
        await taken(lambda _: Reply(b"[]", delay=60), timeout_seconds=0.1)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
async def test_a_page_is_bounded(packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001  # a parameter
    """Reading stops at a page that would exceed memory, however small it is compressed."""
    monkeypatch.setattr(endpoint_client, "MAX_RESPONSE_BYTES", 4 * 1024 * 1024)
    body = b"[" + b" " * 50_000_000 + b"]"
    reply = Reply(gzip.compress(body, 1), headers={"content-encoding": "gzip"}) if packed else Reply(body)
    with pytest.raises(SourceFailed, match="a page has more than 4 MiB"):
        await taken(lambda _: reply)


async def test_rows_before_a_failure_are_given() -> None:
    """Rows before the error are used; it is raised at the page that fails."""

    def failing(asked: Asked) -> Reply:
        return Reply(status=404) if asked.query else by_cursor(asked)

    async with serving(failing) as server, open_snapshot(at(server, **BY_CURSOR), "erp") as snapshot:
        batches = snapshot.batches()
        assert len((await anext(batches)).rows) == 10
        with pytest.raises(SourceFailed, match="404"):
            await anext(batches)
        assert snapshot.end is None


FLAT = {"sku": "id", "sourceVersion": "v", "occurredAt": "at"}
IN_EUR, IN_USD = ({"amount": "price", "currency": {"constant": currency}} for currency in ("EUR", "USD"))
TO_WEB = {"from": "shop", "lookup": {"values": {"1": "web", "2": "old"}}}


@pytest.mark.parametrize(
    ("settings", "covered"),
    [
        ({}, {"*", "web"}),
        ({"constants": {"channel": "web"}}, {"web"}),
        ({"contract": {**FLAT, "pricing": IN_EUR}}, {"*"}),
        ({"contract": {**FLAT, "channel": "shop", "pricing": IN_EUR}}, {"*", "web"}),
        ({"contract": {**FLAT, "channel": "shop", "pricing": IN_USD}}, {"*"}),
        ({"contract": {**FLAT, "channel": {"constant": "web"}, "pricing": IN_EUR}}, {"web"}),
        ({"contract": {**FLAT, "channel": TO_WEB, "pricing": IN_EUR}}, {"web"}),
    ],
)
async def test_coverage_of_an_endpoint(settings: dict[str, object], covered: set[str]) -> None:
    """The channels that its constants or its contract can name, also without rows; only configured ones."""
    reply = Reply(b"[]", headers={"x-total-count": "0"})
    async with serving(lambda _: reply) as server, open_snapshot(at(server, **settings), "erp") as snapshot:
        assert [batch async for batch in snapshot.batches()] == []
        assert covered_in(snapshot) == covered
        assert not snapshot.coverage.has(b"A/web/catalog/erp")
        assert not snapshot.coverage.has(b"of-an-application/pricing/erp")


LEADING: dict[str, dict[str, object]] = {"cursor": {"items": "items", "cursor": "next"}, "Link": {"items": "items"}}


def leading_to(target: str) -> Answering:
    """Ten rows, with this next address in the body and in a header."""
    body = orjson.dumps({"items": ROWS[:10], "next": target, "total": 20})
    return lambda _: Reply(body, headers={"link": f"<{target}>; rel=next"})


# --- secrets -------------------------------------------------------------------


async def test_the_token_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent with every request; a missing or invalid one is an error that does not show it."""
    async with serving(by_link) as server:
        config = at(server, **WITH_TOKEN)
        for value in ("", "two words", "Größe"):
            monkeypatch.setenv("ERP_TOKEN", value)
            with pytest.raises(ConfigurationError) as caught:
                await read(config)
            assert caught.value.key == "sources.erp.snapshot.token_variable"
            assert not value or value not in str(caught.value)
        monkeypatch.setenv("ERP_TOKEN", f"{TOKEN}\n")
        assert (await read(config)).end == COMPLETE
        assert {asked.headers["authorization"] for asked in server.asked} == {f"Bearer {TOKEN}"}


ELSEWHERE = ["http://localhost:1/", "file:///etc/passwd", "//localhost:1/x", "http://me:secret@127.0.0.1:1/"]


@pytest.mark.parametrize("form", ["cursor", "Link"])
@pytest.mark.parametrize("elsewhere", ["other", *ELSEWHERE])
async def test_a_next_page_stays_at_its_host(elsewhere: str, form: str) -> None:
    """With a token or without, however the next page is named, no other scheme, host or port is requested."""
    async with serving(by_link) as other:
        target = f"{other.url}/prices?page=1" if elsewhere == "other" else elsewhere
        with pytest.raises(SourceFailed, match=r"is not an allowed host|has the scheme|has a user in it") as caught:
            await taken(leading_to(target), **LEADING[form])
        assert not other.asked
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("form", ["cursor", "Link"])
@pytest.mark.parametrize("scheme", ["", "http://"])
async def test_allowed_hosts_get_no_token(form: str, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A next page at an allowed host is requested, there and back; only the endpoint's own host gets the token."""
    monkeypatch.setenv("ERP_TOKEN", TOKEN)
    home = ""

    def far(asked: Asked) -> Reply:
        return leading_to(f"{home}/end")(asked)

    def near(asked: Asked) -> Reply:
        return Reply(orjson.dumps({"items": [end(20)], "total": 20})) if asked.path == "/end" else to_other(asked)

    async with serving(far) as other, serving(near) as server:
        home, to_other = server.url, leading_to(f"{other.url}/far")
        host = other.url.replace("http://", scheme)
        found = await read(at(server, hosts=[host], **WITH_TOKEN, **LEADING["cursor"] | {"stable": True}))
        assert [asked.headers.get("authorization") for asked in server.asked] == [f"Bearer {TOKEN}"] * 2
        assert [asked.headers.get("authorization") for asked in other.asked] == [None]
        assert len(found.rows) == 20


@pytest.mark.parametrize("elsewhere", ["http://127.0.0.1:1/", "https://127.0.0.1/"])
async def test_a_resumed_run_stays_at_its_host(elsewhere: str) -> None:
    """The address in a cursor is checked too: the configuration may have changed since."""
    async with serving(by_link) as server:
        with pytest.raises(SourceFailed, match="is not an allowed host"):
            await read(at(server), {"page": elsewhere, "rows": 10})
        assert not server.asked


async def test_nothing_secret_is_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the token nor addresses with their queries, whatever fails."""
    monkeypatch.setenv("ERP_TOKEN", TOKEN)
    caplog.set_level("DEBUG")
    async with serving(faltering(Reply(status=500), Reply(b"[]", cut=1))) as server:
        config = at(server, url=f"{server.url}/prices?key=secret", **WITH_TOKEN)
        await read(config)
    assert not [record for record in caplog.records if TOKEN in record.getMessage() or "secret" in record.getMessage()]


# --- pace -----------------------------------------------------------------------------------------


async def test_requests_keep_their_pace() -> None:
    """No more requests per second than configured, from the first one on."""
    async with serving(by_cursor) as server:
        await read(at(server, **BY_CURSOR, requests_per_second=20.0))
        assert server.at[-1] - server.at[0] >= 0.09


async def test_snapshots_of_one_server_share_its_limits() -> None:
    """Concurrent snapshots share its limit of concurrency; separate ones each have their own."""

    def slow(asked: Asked) -> Reply:
        return by_cursor(asked)._replace(delay=0.02)

    for shared, most in ((True, 2), (False, 4)):
        async with serving(slow) as server, anyio.create_task_group() as group:
            config = at(server, **BY_CURSOR, concurrency=2)
            traffic = RequestLimiter()
            found: Counter[int] = Counter()

            async def one(
                config: Config = config,
                traffic: RequestLimiter | None = traffic if shared else None,
                found: Counter[int] = found,
            ) -> None:
                found[len((await read(config, traffic=traffic)).rows)] += 1

            for _ in range(4):
                group.start_soon(one)
        assert (server.most, found) == (most, {25: 4})


# --- rows -----------------------------------------------------------------------------------------


async def test_rows_are_validated_as_everywhere() -> None:
    """Exact integers, repeated keys, rows that are not objects: nothing is lost in a page."""
    start = '{"type":"catalog","sku":"A","sourceVersion":1,"occurredAt":"2026-01-01T00:00:00Z",'
    large = start + '"payload":{"attributes":{"n":%s}}}'
    twice = large.replace('"sku"', '"sku":"B","sku"') % 1
    rows = [
        large % ("9" * 30),
        large % '1,"n":2',
        twice,
        "7",
        "null",
        large % r'"\ud83d"',
        large % r'"\\ud83d\ud83d\ude00"',
    ]
    body = f"[{','.join(rows)}]".encode()
    async with serving(lambda _: Reply(body, headers={"x-total-count": "7"})) as server:
        config = configured(["catalog"], url=server.url)
        found = await read(config)
    first, second, *_, last = (row.event for row in found.rows)
    assert getattr(first, "payload", "") == b'{"attributes":{"n":%s}}' % (b"9" * 30)
    assert getattr(second, "payload", "") == b'{"attributes":{"n":1,"n":2}}'
    assert getattr(last, "payload", "") == rb'{"attributes":{"n":"\\ud83d\ud83d\ude00"}}'
    assert list(found.refused) == [3, 4, 5, 6]
    assert found.refused[6] == "must not contain a lone surrogate"
    assert "the key 'sku' is repeated" in found.refused[3]
    assert found.end == COMPLETE
