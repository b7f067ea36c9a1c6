"""Requests of endpoints: bodies, cursors and numbers in them, keyset paging, errors in a good response, last pages."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
import orjson
import pytest

from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.delta_config import DeltaConfig, check_delta
from pagefold.engine.configuration.endpoint_config import EndpointConfig
from pagefold.engine.configuration.fetch_config import FetchConfig
from pagefold.engine.configuration.request_templates import fill, with_member
from pagefold.engine.errors import ConfigurationError, SourceFailed
from pagefold.engine.snapshots import open_snapshot
from pagefold.engine.snapshots.endpoint_client import EndpointResponse
from pagefold.engine.snapshots.endpoint_responses import ResponseParser
from pagefold.engine.snapshots.snapshot import MAY_HAVE_MOVED, NO_PROOF, End
from tests.support.fake_endpoint import Answering, Asked, Reply, Server, serving
from tests.support.snapshot_fixtures import Read, configured, prices, read

COMPLETE = End(complete=True)
ROWS = prices(25)
QUERY = "query($after: String) { products(first: 10, after: $after) { nodes { sku } } }"


def at(server: Server, **settings: object) -> Config:
    """A snapshot at the server, without limits of pace."""
    return configured(**{"url": f"{server.url}/rows", "requests_per_second": 1000.0} | settings)


async def taken(answering: Answering, **settings: object) -> Read:
    """The rows read of a server with these responses."""
    async with serving(answering) as server:
        return await read(at(server, **settings))


def body_of(asked: Asked) -> dict[str, object]:
    """The body of a request."""
    found: dict[str, object] = orjson.loads(asked.body)
    return found


def answer(rows: Sequence[object], **more: object) -> Reply:
    """A page with these rows."""
    return Reply(orjson.dumps({"rows": rows, **more}))


# --- bodies -------------------------------------------------------------------------------------------

GRAPHQL = {
    "body": {"query": QUERY, "variables": {"first": 10}},
    "items": "data.products.nodes",
    "cursor": "data.products.pageInfo.endCursor",
    "cursor_member": "variables.after",
    "has_more": "data.products.pageInfo.hasNextPage",
    "errors": "errors",
}


def graphql(asked: Asked) -> Reply:
    """Ten rows per page; the last one has a cursor, too."""
    assert asked.method == "POST"
    assert asked.headers["content-type"] == "application/json"
    variables = body_of(asked)["variables"]
    assert isinstance(variables, dict)
    assert variables["first"] == 10
    start = int(variables.get("after", "at 0").removeprefix("at "))
    page = {"endCursor": f"at {start + 10}", "hasNextPage": start + 10 < len(ROWS)}
    return Reply(orjson.dumps({"data": {"products": {"nodes": ROWS[start : start + 10], "pageInfo": page}}}))


async def test_a_cursor_in_the_body() -> None:
    """The first page goes without it; a boolean that says that no more follow shows that the snapshot is complete."""
    async with serving(graphql) as server:
        found = await read(at(server, **GRAPHQL, stable=True))
        assert ([each.sku for each in found.events], found.end) == ([row["sku"] for row in ROWS], COMPLETE)
        assert len(server.asked) == 3
        rest = await read(at(server, **GRAPHQL, stable=True), found.batches[0].cursor)
        assert (rest.rows, rest.end) == (found.rows[10:], COMPLETE)


async def test_the_body_is_part_of_what_a_snapshot_is() -> None:
    """Two requests of one address that have different bodies are different snapshots."""
    bodies: list[Mapping[str, object]] = [{"query": "a"}, {"query": "b"}, {}]
    found = set()
    for body in bodies:
        settings = {"body": body} if body else {}
        async with open_snapshot(configured(url="https://shop.example/graphql", **settings), "erp") as snapshot:
            found.add(snapshot.identity)
    assert len(found) == 3


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ({"endCursor": None, "hasNextPage": False}, ""),
        ({"endCursor": None, "hasNextPage": True}, "its last page says that there are more rows, but leads to none"),
        ({"endCursor": "x", "hasNextPage": True}, "the cursor repeats"),
    ],
)
async def test_what_the_boolean_proves(page: object, reason: str) -> None:
    """Only false shows that all were read; a cursor that leads nowhere does not."""
    found = await taken(
        lambda _: Reply(orjson.dumps({"data": {"products": {"nodes": ROWS, "pageInfo": page}}})), **GRAPHQL
    )
    assert found.end is not None
    assert (found.end.complete, found.end.reason[: len(reason)]) == (not reason, reason)


async def test_a_boolean_that_is_not_there() -> None:
    """It is not taken for false."""
    body = {"data": {"products": {"nodes": ROWS, "pageInfo": {"hasNextPage": None}}}}
    with pytest.raises(SourceFailed, match=r"expected true or false at 'data.products.pageInfo.hasNextPage'"):
        await taken(lambda _: Reply(orjson.dumps(body)), **GRAPHQL)


async def test_a_text_as_a_body_and_headers() -> None:
    """A text is sent as it is, with the headers that are configured."""

    def check(asked: Asked) -> Reply:
        assert asked.body == b"select all"
        assert asked.headers["content-type"] == "application/x-query"
        assert (asked.headers["x-odoo-database"], asked.headers["accept"]) == ("shop", "application/vnd.shop+json")
        return answer(ROWS, n=25)

    headers = {"X-Odoo-Database": "shop", "Accept": "application/vnd.shop+json", "Content-Type": "application/x-query"}
    found = await taken(check, body="select all", headers=headers, items="rows", total="n")
    assert found.end == COMPLETE


async def test_headers_stay_at_the_endpoint() -> None:
    """Another host, to which a page leads, gets none of them."""
    async with serving(lambda asked: answer([], n=0, shop=asked.headers.get("x-shop"))) as other:
        first = answer([], n=0, next=f"{other.url}/more")
        async with serving(lambda _: first) as server:
            await read(at(server, headers={"X-Shop": "a"}, items="rows", cursor="next", total="n", hosts=[other.url]))
            assert server.asked[0].headers["x-shop"] == "a"
        assert [asked.headers.get("x-shop") for asked in other.asked] == [None]


async def test_secrets_in_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come from the environment, into each page's body; without one, nothing is asked."""
    body = {"params": {"args": ["shop", 2, ""]}, "after": ""}
    settings = {"body": body, "body_variables": {"params.args.2": "ODOO_KEY"}, "items": "rows", "total": "n"}
    paging = {"member": "after", "after": "sku"}
    async with serving(lambda asked: answer(ROWS[:1] if not body_of(asked)["after"] else [])) as server:
        config = at(server, **{**settings, "total": None, "paging": paging})
        with pytest.raises(ConfigurationError, match="the environment variable ODOO_KEY is not set or empty"):
            await read(config)
        monkeypatch.setenv("ODOO_KEY", "s3cr3t")
        await read(config)
        bodies = [body_of(asked) for asked in server.asked]
    assert [each["params"] for each in bodies] == [{"args": ["shop", 2, "s3cr3t"]}] * 2
    assert bodies[1]["after"] == ROWS[0]["sku"]
    with pytest.raises(ConfigurationError, match=r"'params.x.1': the body has no place for '1' there"):
        configured(url="https://x.example", body={"params": {"x": []}}, body_variables={"params.x.1": "KEY"})


# --- errors in a good response ------------------------------------------------------------------------


async def test_errors_in_a_good_response_are_retried() -> None:
    """As after a status of 500: the page comes in the end, and nothing is read twice."""
    failures = iter([{"errors": [{"message": "Throttled"}]}, {"errors": "busy", "data": None}])

    def faltering(asked: Asked) -> Reply:
        failure = next(failures, None)
        return graphql(asked) if failure is None else Reply(orjson.dumps(failure))

    found = await taken(faltering, **GRAPHQL)
    assert (len(found.events), found.end) == (25, COMPLETE)


@pytest.mark.parametrize(
    ("errors", "shown"),
    [
        ([{"message": "Field 'x' is unknown"}, {"message": "again"}], "Field 'x' is unknown; again"),
        ({"code": 200, "message": "Odoo Server Error", "data": {"message": "Access denied"}}, "Odoo Server Error; Acc"),
        ("no\nsuch shop", "no such shop"),
        ({"status": 7}, '{"status":7}'),
        (True, "true"),
    ],
)
async def test_what_a_response_says_of_its_errors(errors: object, shown: str) -> None:
    """Its messages are shown when all retries are used up."""
    async with serving(lambda _: answer([], errors=errors)) as server:
        with pytest.raises(SourceFailed) as caught:
            await read(at(server, items="rows", errors="errors"))
        assert len(server.asked) == 8
    assert caught.value.problem.startswith(f"its response has errors: {shown}")


@pytest.mark.parametrize("errors", [None, False, "", [], {}])
async def test_no_errors(errors: object) -> None:
    """Something blank is no error."""
    found = await taken(lambda _: answer(ROWS, errors=errors, n=25), items="rows", errors="errors", total="n")
    assert found.end == COMPLETE


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ({"data": {"product": None}}, 0),
        ({"data": {"product": {"variants": None}}}, 0),
        ({"data": {"product": {"variants": [{"a": 1}]}}}, 1),
        ({"data": {"product": {"variants": {"a": 1}}}}, 1),
        ({"data": None}, None),
        ({"data": {}}, None),
        ({"data": {"product": {}}}, None),
    ],
)
def test_the_rows_of_a_fetch(body: object, rows: int | None) -> None:
    """A null on the way to them means that there are none; null in place of all data, or a wrong path, is a failure."""
    parser = ResponseParser("shop", FetchConfig(url="https://x.example/{id}", items="data.product.variants"))
    response = EndpointResponse(orjson.dumps(body), None, None)
    if rows is None:
        with pytest.raises(SourceFailed, match=r"expected an array at 'data.product.variants'"):
            parser.read(response)
    else:
        assert len(parser.read(response).rows) == rows


# --- numbers, sizes and last values -------------------------------------------------------------------


class Domain(msgspec.Struct):
    """A body with conditions, as Odoo has them."""

    domain: list[tuple[str, str, int]]


def by_offset(limit: int, place: Callable[[dict[str, object]], object]) -> Answering:
    """Rows from an offset in the body on."""

    def answering(asked: Asked) -> Reply:
        start = place(body_of(asked))
        assert isinstance(start, int)
        return answer(ROWS[start : start + limit])

    return answering


async def test_an_offset_in_the_body() -> None:
    """It is a number at its place, also in a list; a page that is not full is the last."""
    body = {"params": {"args": ["shop", {"limit": 10, "offset": 7}]}}
    paging = {"member": "params.args.1.offset", "step": "rows", "size": 10}
    async with serving(by_offset(10, lambda asked: asked["params"]["args"][1]["offset"])) as server:  # type: ignore[index]  # as sent
        found = await read(at(server, body=body, paging=paging, items="rows"))
        assert [each.sku for each in found.events] == [row["sku"] for row in ROWS]
        assert len(server.asked) == 3
        assert found.end == End(complete=False, reason=MAY_HAVE_MOVED)
        found = await read(at(server, body=body, paging=paging, items="rows", stable=True))
        assert found.end == COMPLETE


@pytest.mark.parametrize(
    ("rows", "paging", "end", "asked"),
    [
        (7, {"parameter": "page", "size": 10}, COMPLETE, 1),
        (0, {"parameter": "page", "size": 10}, COMPLETE, 1),
        (20, {"parameter": "page", "size": 10}, End(complete=False, reason=MAY_HAVE_MOVED), 3),
        (20, {"parameter": "page"}, End(complete=False, reason=NO_PROOF), 3),
    ],
)
async def test_what_a_page_that_is_not_full_proves(rows: int, paging: dict[str, object], end: End, asked: int) -> None:
    """That all rows were read, if it is the only page; else rows may have moved while the others were read."""

    def numbered(request: Asked) -> Reply:
        start = int(request.query["page"]) * 10 - 10
        return answer(ROWS[:rows][start : start + 10])

    async with serving(numbered) as server:
        assert (await read(at(server, items="rows", paging=paging))).end == end
        assert len(server.asked) == asked


async def test_a_short_page_behind_a_cursor() -> None:
    """With a cursor, too, it shows that all were read."""

    def linked(asked: Asked) -> Reply:
        start = int(asked.query.get("after", 0))
        return answer(ROWS[start : start + 10], next=str(start + 10) if start < 20 else None)

    settings = {"items": "rows", "cursor": "next", "cursor_parameter": "after"}
    assert (await taken(linked, **settings, paging={"size": 10})).end == COMPLETE
    assert (await taken(linked, **settings)).end == End(complete=False, reason=NO_PROOF)


def after_sku(name: str, limit: int = 10) -> Answering:
    """Rows after the SKU in a query such as `sku > "A"`, sorted by it."""

    def answering(asked: Asked) -> Reply:
        last = asked.query.get(name, "").removeprefix('sku > "').removesuffix('"')
        rows = [row for row in ROWS if str(row["sku"]) > last]
        return Reply(orjson.dumps({"rows": rows[:limit], "n": len(rows)}), headers={"x-total-count": str(len(rows))})

    return answering


KEYSET = {"items": "rows", "paging": {"parameter": "where", "after": "sku", "value": 'sku > "{after}"'}}


@pytest.mark.parametrize(("limit", "size", "asked"), [(10, 10, 3), (5, None, 6), (5, 5, 6)])
async def test_keyset_paging(limit: int, size: int | None, asked: int) -> None:
    """Each page is asked for by the last row of the one before; the first page that is not full or empty is the end.

    What a server says of the rows that are left is not taken for the number of all. A later pass resumes anywhere.
    """
    paging = {**KEYSET["paging"], **({} if size is None else {"size": size})}  # type: ignore[dict-item]  # it is one
    async with serving(after_sku("where", limit)) as server:
        config = at(server, items="rows", paging=paging)
        found = await read(config)
        assert ([each.sku for each in found.events], found.end) == ([row["sku"] for row in ROWS], COMPLETE)
        assert (len(server.asked), "where" in server.asked[0].query) == (asked, False)
        async with open_snapshot(config, "erp") as snapshot:
            assert snapshot.resumable
        for number, batch in enumerate(found.batches, 1):
            rest = await read(config, batch.cursor)
            assert rest.rows == [row for later in found.batches[number:] for row in later.rows]


async def test_keyset_paging_by_a_number_in_the_body() -> None:
    """A number stays a number."""
    rows = [{**row, "id": number} for number, row in enumerate(ROWS, 1)]

    def answering(asked: Asked) -> Reply:
        [(field, operator, last)] = msgspec.json.decode(asked.body, type=Domain).domain
        assert (field, operator, type(last)) == ("id", ">", int)
        return answer(rows[last : last + 10])

    contract = {
        "sku": "sku",
        "sourceVersion": "id",
        "pricing": {"amount": "payload.amount", "currency": "payload.currency"},
    }
    found = await taken(
        answering,
        items="rows",
        body={"domain": [["id", ">", 0]]},
        paging={"member": "domain.0.2", "after": "id", "size": 10},
        contract=contract,
    )
    assert (len(found.events), found.end) == (25, COMPLETE)


async def test_a_server_that_ignores_the_last_value() -> None:
    """It sends the first page again and again: that is no end."""
    found = await taken(lambda _: answer(ROWS[:10]), **KEYSET)
    assert found.end is not None
    assert found.end.reason.startswith("the cursor repeats")


async def test_a_row_without_the_value_of_keyset_paging() -> None:
    """The next page cannot be asked for: that fails."""
    with pytest.raises(SourceFailed, match=r"a row has neither text nor an integer at 'id', which paging.after names"):
        await taken(lambda _: answer(ROWS[:10]), items="rows", paging={"parameter": "after", "after": "id"})


def repeating(asked: Asked) -> Reply:
    """The last page again for every number after it, as Magento did."""
    page = min(int(asked.query["page"]), 3)
    return answer(ROWS[page * 10 - 10 : page * 10], n=asked.query.get("n"))


@pytest.mark.parametrize(("total", "reason"), [("25", ""), ("30", "its total is 30 rows; it has 25"), (None, NO_PROOF)])
async def test_a_last_page_that_repeats(total: str | None, reason: str) -> None:
    """It is the end, and not read twice; with another total, the snapshot is not complete."""
    async with serving(repeating) as server:
        url = f"{server.url}/rows" + ("" if total is None else f"?n={total}")
        paging = {"parameter": "page", "repeats_last": True}
        found = await read(at(server, url=url, items="rows", total="n", paging=paging))
    assert len(found.events) == 25
    assert found.end == End(complete=not reason, reason=reason)


# --- places for values --------------------------------------------------------------------------------


def test_values_are_filled_in() -> None:
    """Encoded in an address; in a body a text that is nothing else becomes the value, and a number stays one."""
    endpoint = EndpointConfig(
        url="https://x.example/p/{a.id}/{n}?q={a.id}", body={"ids": ["{n}"], "q": "id:{n} { id }", "a": {"b": "{a.id}"}}
    )
    values: Mapping[str, object] = {"a.id": "A/1 ü?", "n": 7}
    found = fill(endpoint, values.__getitem__)
    assert found.url == "https://x.example/p/A%2F1%20%C3%BC%3F/7?q=A%2F1%20%C3%BC%3F"
    assert found.body == {"ids": [7], "q": "id:7 { id }", "a": {"b": "A/1 ü?"}}


@pytest.mark.parametrize("value", [None, [], {}, "..", "."])
def test_values_that_cannot_be_filled_in(value: object) -> None:
    """There must be a value, and it must not lead to another part of the server."""
    with pytest.raises(ValueError, match=r"no text, number or boolean at 'id'|cannot be part of an address"):
        fill(EndpointConfig(url="https://x.example/p/{id}"), lambda _: value)


def test_members_of_a_body() -> None:
    """What is missing is made; the body itself is not changed."""
    body: dict[str, object] = {"a": [{"b": 1}, 2]}
    assert with_member(body, "a.0.c.d", 5) == {"a": [{"b": 1, "c": {"d": 5}}, 2]}
    assert body == {"a": [{"b": 1}, 2]}
    for path in ("a.2", "a.x", "a.1.b", "a..b"):
        with pytest.raises(ValueError, match=r"no place|not a dotted path"):
            with_member(body, path, 5)


# --- configuration ------------------------------------------------------------------------------------

CURSOR = {"cursor": "next"}


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"body": {}, "method": "GET"}, "snapshot.method: is GET, whose requests have no body"),
        ({"headers": {"Authorization": "x"}}, "headers.Authorization: is not a header that may be given here"),
        ({"headers": {"X": "a\nb"}}, "headers.X: is empty, or has characters that a header cannot contain"),
        ({"headers": {"X-A": "a"}, "header_variables": {"x-a": "A"}}, "headers.X-A: is given in header_variables, too"),
        ({"cursor_member": "after"}, "snapshot.cursor_member: needs cursor as well"),
        ({**CURSOR, "cursor_member": "after"}, "snapshot.cursor_member: needs a body that is a table"),
        ({**CURSOR, "cursor_member": "a.0", "body": {"a": []}}, "cursor_member: 'a.0': the body has no place for '0'"),
        ({**CURSOR, "cursor_member": "a", "cursor_parameter": "a", "body": {}}, "is given beside cursor_parameter"),
        ({**CURSOR, "paging": {"parameter": "page"}}, "snapshot.paging: contradicts cursor"),
        ({"paging": {"size": 5}}, "paging.parameter: is required, or member"),
        ({"paging": {"parameter": "a", "member": "b"}, "body": {}}, "paging.member: is given beside parameter"),
        ({"paging": {"member": "a"}, "body": "text"}, "paging.member: needs a body that is a table"),
        ({"paging": {"parameter": "a", "value": "{after}"}}, "paging.value: goes with after"),
        ({"paging": {"parameter": "a", "after": "id", "value": "id >"}}, "paging.value: needs {after}"),
        ({"paging": {"parameter": "a", "after": "id", "first": 2}}, "paging.first: goes with pages that have a number"),
        ({"paging": {"parameter": "a", "after": "id"}, "total": "n"}, "paging.after: goes without total"),
        ({"has_more": "a..b"}, "snapshot.has_more: 'a..b' is not a dotted path"),
        ({"errors": ""}, "snapshot.errors: is empty"),
    ],
)
def test_what_cannot_be_configured(settings: dict[str, object], problem: str) -> None:
    """Each contradiction has its message."""
    with pytest.raises(ConfigurationError) as caught:
        configured(url="https://shop.example/rows", **settings)
    assert problem in str(caught.value)


def test_the_time_of_a_delta_in_a_body() -> None:
    """It may be in the address, or in any text of the body; one of them must have it."""
    body: dict[str, object] = {"query": "query { x }", "variables": {"filter": {"updatedAt": {"gte": "{since}"}}}}
    delta = DeltaConfig(url="https://shop.example/graphql", body=body, since_format="datetime")
    assert list(check_delta("delta", delta)) == []
    asking = delta.asking_since(datetime(2026, 3, 1, 2, tzinfo=UTC))
    assert asking.body == {
        "query": "query { x }",
        "variables": {"filter": {"updatedAt": {"gte": "2026-03-01 02:00:00"}}},
    }
    [problem] = check_delta("delta", DeltaConfig(url="https://shop.example/graphql", body={"query": "all"}))
    assert str(problem).startswith("delta.url: needs {since}")
