"""For operators: health, readiness, metrics, the request log, and the description of the API."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import msgspec
import pytest
from anyio import run_process
from prometheus_client.parser import text_string_to_metric_families

import pagefold
from pagefold import Config, Shop
from pagefold.engine.http import request_log
from pagefold.engine.http.openapi import document as openapi_document
from pagefold.engine.http.request_log import RequestLog
from pagefold.engine.http.route_table import ROUTES
from pagefold.engine.http.routes.events import CloudEvent
from pagefold.engine.intake.formats.cloudevents import ATTRIBUTES, BINARY_HEADERS, DATA
from pagefold.engine.runtime.clock import seconds_ago
from pagefold.engine.runtime.counters import Histogram
from pagefold.engine.stores.field_ledger import Sighting, Sightings
from pagefold.engine.stores.sync_notes import SyncNote, SyncNotes
from tests.support.command_line import on_sqlite
from tests.support.fault_scenario import SOAK_ROUNDS, SOAK_SEED
from tests.support.http_clients import client_of, problem_in, served, service_of
from tests.support.small_shop import SKU, append, catalog, document, price, say, stock


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with every scope."""
    async with client_of(service_of(shop, reads_open=True)) as opened:
        yield opened


# --- health and readiness -------------------------------------------------------------------------


async def test_a_server_lives(client: httpx2.AsyncClient) -> None:
    """The answer is one word. Readiness is in `test_readiness.py`."""
    assert (await client.get("/healthz")).json() == {"status": "ok"}


# --- metrics --------------------------------------------------------------------------------------


async def scraped(client: httpx2.AsyncClient) -> dict[str, float]:
    """Every sample, by its name and labels as written."""
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["content-length"] == str(len(answer.content))
    return {
        ",".join([sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))]): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_the_lag_of_sources_is_measured(store_url: str) -> None:
    """A source that is asked for changes has three figures, the same in the status; a server without one has none."""
    tables = document(store_url)
    tables["sources"]["erp"]["delta"] = {"url": "https://erp.example?since={since}", "every": "1m"}
    config = Config.parse(tables, store=store_url)
    async with pagefold.open(config) as shop, client_of(service_of(shop, reads_open=True)) as client:
        assert await scraped_lag(client) == {"overdue": 0.0}
        notes = SyncNotes(shop.store, "erp")
        since = seconds_ago(600.0)
        note = SyncNote("erp-1", "erp", since, since, since, synced_at=since, complete=True)
        await shop.append_noted([], notes.event(note))
        await shop.source_lag.refresh()
        found = await scraped_lag(client)
        assert {name: round(value, -1) for name, value in found.items()} == {
            "synced": 600.0,
            "behind": 600.0,
            "overdue": 540.0,
        }
        [source] = (await client.get("/v1/status")).json()["sources"]
        assert (source["source"], source["syncedAt"], source["overdue"]) == ("erp", since, ["sync"])


async def scraped_lag(client: httpx2.AsyncClient) -> dict[str, float]:
    """The figures of the ERP."""
    found = await scraped(client)
    names = {name: f"pagefold_source_{name}_seconds,source=erp" for name in ("synced", "behind", "overdue")}
    return {name: found[key] for name, key in names.items() if key in found}


async def test_metrics_count_what_happened(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Outcomes, batches, reads and lag match what was done, and no label has an SKU."""
    await say(shop, catalog("a"), price("1.00"), stock(1))
    await shop.append([price("1.00"), price("2.00"), price("1.00", version=-1)])
    tag = (await client.get(f"/v1/pages/web-de/{SKU}")).headers["etag"]
    await client.get(f"/v1/pages/web-de/{SKU}", headers={"if-none-match": tag})
    await client.get("/v1/pages/web-de/nothing")
    await append(shop, price("3.00", version=2))
    found = await scraped(client)
    for outcome, number in {"appended": 4, "duplicate": 1, "conflict": 1, "rejected": 1}.items():
        assert found[f"pagefold_events_total,outcome={outcome},worker=1"] == number
    assert found["pagefold_append_batch_events_sum,worker=1"] == 6
    assert found["pagefold_append_seconds_count,worker=1"] == 3
    assert found["pagefold_fold_batch_events_sum,domain=pricing,worker=1"] == 1
    assert found["pagefold_append_queue_events,worker=1"] == 0
    assert found["pagefold_page_reads_total,worker=1"] == 2
    assert found["pagefold_page_not_modified_total,worker=1"] == 1
    assert found["pagefold_lag_events,domain=pricing"] == 1
    assert found["pagefold_lag_events,domain=catalog"] == 0
    assert found["pagefold_folded_events_total,domain=catalog,outcome=applied"] == 1
    assert found["pagefold_dead_letters,domain=pricing,kind=ingest"] == 1
    assert [found[f"pagefold_ready,for={purpose}"] for purpose in ("reads", "ingest")] == [1, 1]
    assert found["pagefold_check_ok,check=log"] == 1
    requests = "pagefold_http_requests_total,method=GET,route=/v1/pages/{channel}/{sku},status=%d,worker=1"
    assert [found[requests % status] for status in (200, 304, 404)] == [1, 1, 1]
    assert not any(SKU in name or "nothing" in name for name in found)


async def test_alerts_of_fields_are_metrics(shop: Shop, client: httpx2.AsyncClient) -> None:
    """By source and kind."""
    fields = [Sighting("", name, 1, 1, 1, mapped=False, example="", alert="new") for name in ("size", "note")]
    at = "2026-03-01T00:00:00.000000Z"
    await shop.store.fields.add(Sightings("erp", "items", at, [("", 1)], fields, alert_type=True))
    assert (await scraped(client))["pagefold_field_alerts,alert=new,source=erp"] == 2


async def test_drift_is_counted(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Sections that a replay found to differ have a counter of their own."""
    await say(shop, catalog("a"))
    await shop.replay()
    assert (await scraped(client))["pagefold_rebuild_drift_total,domain=catalog,worker=1"] == 0


def test_a_histogram_counts_up_to_each_bound() -> None:
    """A value counts in the first bucket whose bound it does not exceed."""
    histogram = Histogram((1, 10))
    for value in (0, 1, 1.5, 10, 11):
        histogram.add(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.total == 23.5


# --- the log of requests --------------------------------------------------------------------------


@pytest.mark.parametrize(("sample", "expected"), [(0.0, 0), (0.1, 10), (0.5, 50), (1.0, 100)])
def test_a_sample_of_the_requests_is_logged(sample: float, expected: int) -> None:
    """Every n-th, including the first."""
    counter = RequestLog(sample)
    assert sum(counter.logs_next() for _ in range(100)) == expected


async def test_a_log_line_has_the_route_and_nothing_of_the_request(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Method, route, status, size and time: no SKU, no query, no header."""
    lines: list[dict[str, object]] = []
    monkeypatch.setattr(request_log.log, "info", lambda event, **fields: lines.append({"event": event, **fields}))
    service = service_of(shop, reads_open=True)
    service.traffic = RequestLog(1.0)
    async with client_of(service) as client:
        await client.get("/v1/pages/web-de/SECRET", headers={"x-secret": "SECRET"})
        await client.get("/v1/skus/SECRET/history?channel=SECRET")
        await client.get("/SECRET")
    assert [line["route"] for line in lines] == ["/v1/pages/{channel}/{sku}", "/v1/skus/{sku}/history", "none"]
    assert [line["status"] for line in lines] == [404, 200, 404]
    assert all(line.keys() == {"event", "method", "route", "status", "bytes", "milliseconds"} for line in lines)
    assert "SECRET" not in str(lines)


# --- routes, and their description ----------------------------------------------------------------


async def test_an_unknown_route_is_an_error(client: httpx2.AsyncClient) -> None:
    """An unknown path is 404; an unknown method is 405, with the allowed ones."""
    assert problem_in(await client.get("/v1/nothing"))["status"] == 404
    assert problem_in(await client.get("/v1/pages/a/b/c"))["status"] == 404
    assert problem_in(await client.get("/healthz/"))["status"] == 404
    answer = await client.post("/healthz")
    assert problem_in(answer)["status"] == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert (await client.head("/healthz")).status_code == 200


async def test_every_route_is_described(client: httpx2.AsyncClient) -> None:
    """The document has every route, with a unique name, and all its responses."""
    described = (await client.get("/openapi.json")).json()
    assert described["openapi"] == "3.1.0"
    operations = {
        (method.upper(), path): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
    assert operations.keys() == {(route.method, route.path) for route in ROUTES}
    assert len({operation["operationId"] for operation in operations.values()}) == len(ROUTES)
    for route in ROUTES:
        operation = operations[route.method, route.path]
        assert {str(answer.status) for answer in route.answers} <= operation["responses"].keys()
        assert ("401" in operation["responses"]) is (route.scope is not None or 401 in route.problems)
    assert msgspec.json.decode(openapi_document(ROUTES)) == described


async def test_the_headers_of_cloudevents_are_described(client: httpx2.AsyncClient) -> None:
    """Those that binary mode reads; structured mode has the same attributes."""
    document = (await client.get("/openapi.json")).json()
    parameters = document["paths"]["/v1/events"]["post"]["parameters"]
    described = {each["name"]: "required" in each["description"] for each in parameters if each["in"] == "header"}
    assert described == {name: each.required for name, each in BINARY_HEADERS.items()}
    fields = {each.name: each.required for each in msgspec.structs.fields(CloudEvent)}
    assert fields.pop(DATA)
    assert fields.items() <= {name: each.required for name, each in ATTRIBUTES.items()}.items()
    assert {name for name, each in ATTRIBUTES.items() if each.required} <= fields.keys()


async def test_the_headers_of_answers_are_described(shop: Shop, client: httpx2.AsyncClient) -> None:
    """A page's response has those of its description; a 401 names the scheme."""
    await say(shop, catalog("a"))
    answers = (await client.get("/openapi.json")).json()["paths"]["/v1/pages/{channel}/{sku}"]["get"]["responses"]
    page = f"/v1/pages/web-de/{SKU}"
    found = await client.get(page)
    unchanged = await client.get(page, headers={"if-none-match": found.headers["etag"]})
    async with client_of(service_of(shop, None)) as stranger:
        refused = await stranger.get(page)
    for answer in (found, unchanged, refused):
        headers = answers[str(answer.status_code)]["headers"]
        assert headers
        assert {name.lower() for name in headers} <= set(answer.headers)
    assert answers["429"]["headers"] == answers["503"]["headers"]


PHASES = "examples,coverage,fuzzing"

# Not checked: that every value of the schema is accepted. A cursor is a string, and not every string is a cursor.
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
negative_data_rejection,response_headers_conformance,unsupported_method,use_after_free,ignored_auth"


async def compare_with_the_description(shop: Shop, folder: Path, examples: int, seed: int) -> None:
    """Calls every route in many ways, valid and invalid, and compares the responses with the description."""
    await say(shop, catalog("a"), price("1.00"), stock(1))
    async with served(service_of(shop, None)) as (host, port):
        program = Path(sys.executable).parent / "schemathesis"
        limits = (
            "--max-examples",
            str(examples),
            "--seed",
            str(seed),
            "--phases",
            "examples,coverage,fuzzing",
            "--checks",
            CHECKS,
        )
        done = await run_process(
            [program, "run", f"http://{host}:{port}/openapi.json", "-H", "Authorization: Bearer all", *limits],
            check=False,
            cwd=folder,
        )
    assert done.returncode == 0, done.stdout.decode()[-5_000:]


@on_sqlite
async def test_the_description_is_true(shop: Shop, tmp_path: Path) -> None:
    """Whatever the request, the response is one of those described, and no 5xx."""
    await compare_with_the_description(shop, tmp_path, 10, seed=7)


@pytest.mark.soak
@on_sqlite
@pytest.mark.parametrize("seed", [SOAK_SEED])
async def test_the_description_is_true_for_long(shop: Shop, tmp_path: Path, seed: int) -> None:
    """The same with many more requests."""
    await compare_with_the_description(shop, tmp_path, 40 * SOAK_ROUNDS, seed)
