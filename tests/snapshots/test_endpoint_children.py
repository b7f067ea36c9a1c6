"""Children of an endpoint's rows: more requests for each row, whose rows become a member of it."""

from collections.abc import Callable

import orjson
import pytest

from pagefold.engine.configuration import endpoint_config
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import ConfigurationError, SourceFailed
from pagefold.engine.events import DomainEvent
from pagefold.engine.snapshots.snapshot import End
from tests.support.fake_endpoint import Answering, Asked, Reply, Server, serving
from tests.support.snapshot_fixtures import Read, configured, payload_of, read

COMPLETE = End(complete=True)
TOKEN = "s3cr3t-t0k3n"  # noqa: S105  # it opens nothing
CONTRACT = {
    "items": "variations",
    "versions": "none",
    "sku": "sku",
    "pricing": {"amount": "price", "currency": {"constant": "EUR"}},
}
PRODUCTS = [{"id": number, "type": "variable", "variations": [1]} for number in range(1, 8)]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives up after three requests."""
    monkeypatch.setattr(endpoint_config, "ATTEMPTS", 3)


def at(server: Server, child: dict[str, object], **settings: object) -> Config:
    """A snapshot of products with their variations."""
    variations = {"url": f"{server.url}/products/{{id}}/variations", "only": {"type": ["variable"]}} | child
    return configured(
        **{
            "url": f"{server.url}/products",
            "items": "rows",
            "total": "n",
            "requests_per_second": 1000.0,
            "contract": CONTRACT,
            "children": {"variations": variations},
        }
        | settings
    )


async def taken(answering: Answering, **child: object) -> Read:
    """The rows read of a server with these responses."""
    async with serving(answering) as server:
        return await read(at(server, child))


def variation(product: int, number: int) -> dict[str, object]:
    """A variation of a product."""
    return {"sku": f"P{product}-{number}", "price": f"{number}.50"}


def shop(
    products: list[dict[str, object]] = PRODUCTS, *, fault: Callable[[int, Asked], Reply | None] = lambda _, __: None
) -> Answering:
    """Products, each with three variations on two pages; `fault` answers for some of them."""

    def answering(asked: Asked) -> Reply:
        names = asked.path.split("/")
        if len(names) == 2:
            return Reply(orjson.dumps({"rows": products, "n": len(products)}))
        product, page = int(names[2]), int(asked.query.get("page", 1))
        rows = [variation(product, number) for number in (1, 2, 3)][page * 2 - 2 : page * 2]
        return fault(product, asked) or Reply(orjson.dumps(rows), headers={"x-wp-total": "3"})

    return answering


PAGED: dict[str, object] = {"paging": {"parameter": "page", "size": 2}}


def stated(found: Read) -> list[str]:
    """The SKUs of the statements."""
    return [row.event.sku for row in found.rows if isinstance(row.event, DomainEvent)]


async def test_children_are_put_into_their_row() -> None:
    """All pages of each, in place of what the row had there; the contract reads them as if the row had them."""
    found = await taken(shop(), **PAGED)
    assert stated(found) == [f"P{product}-{number}" for product in range(1, 8) for number in (1, 2, 3)]
    assert found.end == COMPLETE
    event = found.rows[1].event
    assert isinstance(event, DomainEvent)
    assert payload_of(event)["amount"] == "2.5"


async def test_rows_without_children() -> None:
    """Only rows with the values of `only` are asked about; a boolean is no number there, and 1 is not true."""
    rows: list[dict[str, object]] = [
        {"id": 1, "type": "simple", "flag": True, "variations": [{"sku": "S", "price": "1"}]},
        {"id": 2, "type": "variable", "flag": 1},
        {"id": 3, "type": "variable", "flag": True},
        {"id": 4},
    ]
    async with serving(shop(rows)) as server:
        found = await read(at(server, {**PAGED, "only": {"type": ["variable"], "flag": [True]}}))
        assert {asked.path for asked in server.asked[1:]} == {"/products/3/variations"}
    assert stated(found) == ["S", "P3-1", "P3-2", "P3-3"]


async def test_children_are_asked_for_concurrently() -> None:
    """As far as the endpoint's limits allow."""

    def slowly(product: int, asked: Asked) -> Reply:
        return Reply(orjson.dumps([variation(product, 1)]), delay=0.05)

    async with serving(shop(fault=slowly)) as server:
        await read(at(server, {}, concurrency=4))
        assert server.most == 4


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (Reply(status=404), "it answers 404 Not Found"),
        (Reply(status=500), "it answers 500 Internal Server Error, after all retries"),
        (Reply(b'[{"sku": "P3-1"', cut=9), "the response is incomplete"),
        (Reply(b"{}"), "expected an array as the response"),
        (Reply(b"[{"), "the response is not JSON"),
        (Reply(b"[]", headers={"x-wp-total": "3"}), "its total is 3 rows; it has 0"),
        (Reply(b'[{"sku":"P3-1"},{"sku":"P3-2"}]', headers={"x-wp-total": "4"}), "a row came twice"),
    ],
)
async def test_children_that_cannot_be_read(fault: Reply, problem: str) -> None:
    """Nothing of their row is stated, the others are, and the snapshot is not complete."""
    found = await taken(shop(fault=lambda product, _: fault if product == 3 else None), **PAGED)
    assert stated(found) == [f"P{product}-{number}" for product in (1, 2, 4, 5, 6, 7) for number in (1, 2, 3)]
    [(number, reason)] = found.refused.items()
    assert (number, reason.startswith("variations: http"), problem in reason) == (3, True, True)
    assert found.end == End(complete=False, reason="what belongs to 1 row could not be read")


async def test_a_second_page_of_children_that_fails() -> None:
    """The first page alone is not stated."""
    found = await taken(
        shop(fault=lambda product, asked: Reply(status=403) if (product, asked.query["page"]) == (3, "2") else None),
        **PAGED,
    )
    assert not [sku for sku in stated(found) if sku.startswith("P3")]
    assert found.end is not None
    assert not found.end.complete


async def test_a_temporary_failure_of_children() -> None:
    """It is retried, and then nothing is missing."""
    failures = iter([Reply(status=503), Reply(b"[{", cut=1)])
    found = await taken(shop(fault=lambda product, _: next(failures, None) if product == 3 else None), **PAGED)
    assert (len(stated(found)), found.end) == (21, COMPLETE)


async def test_a_row_without_the_value_of_its_address() -> None:
    """Its children cannot be asked for."""
    rows: list[dict[str, object]] = [{"type": "variable"}, {"id": "..", "type": "variable"}]
    found = await taken(shop(rows))
    assert list(found.refused.values()) == [
        "variations: there is no text, number or boolean at 'id'",
        "variations: '..', at 'id', cannot be part of an address",
    ]
    assert found.end == End(complete=False, reason="what belongs to 2 rows could not be read")


async def test_children_that_fail_for_every_row() -> None:
    """After twenty rows in succession, reading stops: the rest would fail as well."""
    rows: list[dict[str, object]] = [{"id": number, "type": "variable"} for number in range(100)]
    async with serving(shop(rows, fault=lambda _, __: Reply(status=401))) as server:
        with pytest.raises(SourceFailed, match=r"what belongs to 20 rows in succession could not be"):
            await read(at(server, {}))
        assert len(server.asked) < 100


async def test_children_ask_as_their_endpoint_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its token and headers; another server gets no token."""
    monkeypatch.setenv("SHOP_TOKEN", TOKEN)
    settings = {"token_variable": "SHOP_TOKEN", "headers": {"X-Shop": "a"}}
    async with serving(shop()) as server, serving(lambda _: Reply(b"[]")) as other:
        await read(at(server, PAGED, **settings))
        assert {(asked.headers["authorization"], asked.headers["x-shop"]) for asked in server.asked} == {
            (f"Bearer {TOKEN}", "a")
        }
        await read(at(server, {"url": f"{other.url}/{{id}}"}, **settings))
        assert {asked.headers.get("authorization") for asked in other.asked} == {None}


async def test_children_by_a_body() -> None:
    """The value of the row goes into the body, as a number."""

    def answering(asked: Asked) -> Reply:
        if asked.method == "GET":
            return Reply(orjson.dumps({"rows": PRODUCTS, "n": 7}))
        body: dict[str, int] = orjson.loads(asked.body)
        return Reply(orjson.dumps([variation(body["product"], 1)]))

    async with serving(answering) as server:
        found = await read(at(server, {"url": f"{server.url}/variations", "body": {"product": "{id}"}}))
    assert stated(found) == [f"P{product}-1" for product in range(1, 8)]


@pytest.mark.parametrize(
    ("child", "problem"),
    [
        ({"url": "https://x.example/all"}, "children.variations.url: needs a place for a value of the row, such as"),
        ({"url": "https://{id}.example/all"}, "children.variations.url: has a place for a value where it says which"),
        ({"url": "ftp://x.example/{id}"}, "children.variations.url: is not an address"),
        (
            {"url": "https://x.example/{id}", "only": {"type": "x"}},
            "variations.only.type: expected the values",
        ),
        ({"url": "https://x.example/{id}", "paging": {}}, "children.variations.paging.parameter: is required"),
    ],
)
def test_what_cannot_be_configured(child: dict[str, object], problem: str) -> None:
    """Each contradiction has its message."""
    with pytest.raises(ConfigurationError) as caught:
        configured(url="https://x.example", children={"variations": child})
    assert problem in str(caught.value)
