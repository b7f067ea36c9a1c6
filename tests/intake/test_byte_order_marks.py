"""A byte order mark before a body, a page or a file is skipped by every entrance."""

import base64
import gzip
import hashlib
import hmac
import json
from pathlib import Path

import httpx2
import pytest

from pagefold import Config, Shop
from pagefold.engine.http.server_context import ServerContext
from tests.support.command_line import event, lines_file, on_sqlite, run_pagefold, settle
from tests.support.debezium_messages import ROW, envelope
from tests.support.fake_endpoint import Asked, Reply, serving
from tests.support.http_clients import client_of, service_of
from tests.support.small_shop import Document, append, document, price
from tests.support.snapshot_fixtures import configured, read, written

MARK = b"\xef\xbb\xbf"
SECRET = "hush"  # noqa: S105  # it opens nothing
HOOK: Document = {
    "secret_variables": ["SECRET"],
    "scheme": "hmac-sha256",
    "header": "X-Signature",
    "contract": {"sku": "sku", "sourceVersion": "v", "pricing": {"amount": "price", "currency": {"constant": "EUR"}}},
}
TABLES: Document = {"contract": {"sku": "item_no", "pricing": HOOK["contract"]["pricing"]}}
CLOUD: Document = {
    "specversion": "1.0",
    "id": "1",
    "source": "/erp",
    "type": "pricing",
    "subject": "CLOUD",
    "time": "2026-01-01T00:00:00Z",
    "sequence": 1,
}
DATA = b'{"currency":"EUR","amount":"5.00"}'
BINARY = {f"ce-{name}": str(value) for name, value in CLOUD.items()}
LINES = b"\n".join(json.dumps(event(sku)).encode() for sku in ("N1", "N2"))

POSTED: dict[str, tuple[str, bytes, dict[str, str]]] = {
    "an event": ("/v1/events", json.dumps(event("ONE")).encode(), {}),
    "an array": ("/v1/events", json.dumps([event("A1"), event("A2")]).encode(), {}),
    "lines": ("/v1/events", LINES, {"content-type": "application/x-ndjson"}),
    "lines of JSON": ("/v1/events", LINES, {}),
    "a CloudEvent": (
        "/v1/events",
        json.dumps(CLOUD | {"data": json.loads(DATA)}).encode(),
        {"content-type": "application/cloudevents+json"},
    ),
    "CloudEvents": (
        "/v1/events",
        json.dumps([CLOUD | {"data": json.loads(DATA)}]).encode(),
        {"content-type": "application/cloudevents-batch+json"},
    ),
    "the data of a CloudEvent": ("/v1/events", DATA, BINARY),
    "its data in base64": (
        "/v1/events",
        json.dumps(CLOUD | {"data_base64": base64.b64encode(MARK + DATA).decode()}).encode(),
        {"content-type": "application/cloudevents+json"},
    ),
    "a change of a row": ("/v1/cdc/tables", json.dumps(envelope("c", None, ROW)).encode(), {}),
    "pages to be read": ("/v1/pages:batchGet", b'{"channel":"web-de","skus":["A"]}', {}),
    "a correction": ("/v1/dead-letters/ingest-1:correct", b'{"payload":%b}' % DATA, {}),
}


@pytest.fixture
def config(store_url: str) -> Config:
    """A shop with prices from every entrance."""
    parsed = document(store_url)
    parsed["sources"]["hook"] = {"domains": ["pricing"], "webhook": HOOK}
    parsed["sources"]["tables"] = {"domains": ["pricing"], "cdc": TABLES}
    return Config.parse(parsed, store=store_url)


def placed(shop: Shop) -> ServerContext:
    """A server whose secrets are set."""
    return service_of(shop, environment={"SECRET": SECRET})


@pytest.mark.parametrize("body", POSTED.values(), ids=POSTED.keys())
async def test_in_front_of_a_body(shop: Shop, body: tuple[str, bytes, dict[str, str]]) -> None:
    """The response is that without it."""
    url, content, headers = body
    await append(shop, price("1.00", sku="CONFLICT"))
    await shop.append([price("2.00", sku="CONFLICT")])
    async with client_of(placed(shop)) as client:
        answer = await client.post(url, content=MARK + content, headers={"content-type": "application/json"} | headers)
        assert answer.status_code in (200, 202), answer.text
        assert {each["outcome"] for each in answer.json().get("results", [])} <= {"appended"}
        assert answer.text.count("appended") == (0 if "pages" in url else max(content.count(b'"sku"'), 1))


async def test_in_front_of_a_signed_body(shop: Shop) -> None:
    """The signature is that of the bytes as sent."""
    body = MARK + b'{"sku":"A","v":1,"at":"2026-01-01T00:00:00Z","price":"9.90"}'
    signature = base64.b64encode(hmac.new(SECRET.encode(), body, hashlib.sha256).digest()).decode()
    async with client_of(placed(shop)) as client:
        for sent, status in ((body, 202), (body.removeprefix(MARK), 401)):
            headers = {"x-signature": signature, "content-type": "application/json"}
            answer = await client.post("/v1/webhooks/hook", content=sent, headers=headers)
            assert answer.status_code == status, answer.text
            if status == 202:
                assert [each["outcome"] for each in answer.json()["results"]] == ["appended"]


async def test_alone_it_is_an_empty_body(shop: Shop) -> None:
    """A body with nothing else is empty."""
    async with client_of(placed(shop)) as client:
        for url in ("/v1/events", "/v1/cdc/tables", "/v1/pages:batchGet"):
            empty, marked = [
                await client.post(url, content=content, headers={"content-type": "application/json"})
                for content in (b"", MARK)
            ]
            assert isinstance(empty, httpx2.Response)
            assert marked.status_code == empty.status_code


# --- files --------------------------------------------------------------------------------------------------


@pytest.fixture
def workplace(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a configuration and an empty store."""
    return settle(tmp_path, store_url, monkeypatch)


@on_sqlite
def test_in_front_of_files(workplace: Path) -> None:
    """The configuration, events and a payload, as Windows writes them."""
    settings = workplace / "pagefold.toml"
    settings.write_bytes(MARK + settings.read_bytes())
    (workplace / "events.ndjson.gz").write_bytes(gzip.compress(MARK + LINES))
    assert run_pagefold("ingest", "events.ndjson.gz", "--json").counts == {"appended": 2}
    run_pagefold("ingest", lines_file(workplace / "other.ndjson", event("N1", amount="7.00")))
    (workplace / "payload.json").write_bytes(MARK + DATA)
    corrected = run_pagefold("dead-letters", "correct", "ingest-1", "--payload", "payload.json", "--json")
    assert (corrected.code, corrected.document["outcome"]) == (0, "appended")


def test_in_front_of_a_configuration_in_a_text() -> None:
    """A caller that has read the file need not remove it."""
    assert Config.parse('\ufeff[store]\nurl = "sqlite:///x"\n[sources]\n[channels]').store.url == "sqlite:///x"


SNAPSHOTS = {
    "prices.csv": b"sku,sourceVersion,occurredAt,payload.currency,payload.amount\n"
    b"A,1,2026-01-01T00:00:00Z,EUR,5\n#end,1\n",
    "prices.ndjson": json.dumps(event("A")).encode() + b'\n{"snapshot":"end","count":1}\n',
}


@pytest.mark.parametrize("name", SNAPSHOTS)
@pytest.mark.parametrize("packed", [False, True])
async def test_in_front_of_a_snapshot(tmp_path: Path, name: str, *, packed: bool) -> None:
    """In either format, compressed or not."""
    content = MARK + SNAPSHOTS[name]
    file = tmp_path / (name + ".gz" * packed)
    written(file, gzip.compress(content) if packed else content)
    found = await read(configured(file=str(file)))
    assert [each.sku for each in found.events] == ["A"]
    assert found.end is not None
    assert found.end.complete


async def test_in_front_of_a_page_of_an_endpoint() -> None:
    """On any page."""
    pages = {"/prices": [event("A")], "/2": [event("B"), {"snapshot": "end", "count": 2}]}

    def answer(asked: Asked) -> Reply:
        headers = {"link": '</2>; rel="next"'} if asked.path == "/prices" else {}
        return Reply(MARK + json.dumps(pages[asked.path]).encode(), headers=headers)

    async with serving(answer) as server:
        found = await read(configured(url=f"{server.url}/prices", requests_per_second=1000.0))
    assert [each.sku for each in found.events] == ["A", "B"]
