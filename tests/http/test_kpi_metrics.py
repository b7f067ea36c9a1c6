"""Metrics of key figures, of the store and of processes; the metrics of a worker without a server."""

import socket
import time
from collections.abc import AsyncIterator

import anyio
import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pagefold import Shop
from pagefold.engine.errors import AddressUnavailable, StoreUnavailable
from pagefold.engine.http import metrics_server, request_log
from pagefold.engine.http.metrics_server import serving_metrics
from pagefold.engine.kpis.definitions import KPIS
from tests.support.command_line import on_sqlite
from tests.support.http_clients import client_of, served, service_of
from tests.support.processes import eventually
from tests.support.small_shop import CHANNELS, catalog, price, say


def samples(text: str) -> dict[str, float]:
    """Every sample, by its name and the values of its labels."""
    return {
        ",".join([sample.name, *(value for _, value in sorted(sample.labels.items()))]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with every scope."""
    async with client_of(service_of(shop, reads_open=True)) as opened:
        yield opened


async def test_each_key_figure_has_its_metrics(shop: Shop, client: httpx2.AsyncClient) -> None:
    """The value, whether it is crossed, and the limit; what is not known has no value."""
    await shop.append([catalog("shirt")])
    found = samples((await client.get("/metrics")).text)
    assert {f"pagefold_kpi_threshold,{each.name}": each.threshold for each in KPIS}.items() <= found.items()
    assert found["pagefold_kpi_value,lag,catalog"] > 0 == found["pagefold_kpi_crossed,lag,catalog"]
    assert found["pagefold_kpi_value,not-applied,"] == 0
    assert found["pagefold_kpi_crossed,drift,"] == 0
    assert "pagefold_kpi_value,drift," not in found


async def test_the_store_the_processes_and_the_build_are_described(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Pages and sections by channel are counted in the background: until then, nothing is said of them."""
    await say(shop, catalog("shirt"), price("9.90"))
    assert not [name for name in samples((await client.get("/metrics")).text) if name.startswith("pagefold_pages")]
    await eventually(lambda: bool(shop.page_counts.counted_at), "they are counted")
    found = samples((await client.get("/metrics")).text)
    assert found["pagefold_sections,web-de,catalog"] == found["pagefold_sections_ready,web-de,catalog"] == 1
    assert {channel: found[f"pagefold_pages,{channel}"] for channel in CHANNELS} == dict.fromkeys(CHANNELS, 1)
    ready = {channel for channel in CHANNELS if found[f"pagefold_pages_ready,{channel}"]}
    assert ready == {"market-at", "outlet-de"}, "the others require more"
    assert found["pagefold_store_bytes,log"] > 0 < found["pagefold_store_bytes,pages"]
    assert found["pagefold_process_resident_bytes,1"] > 10_000_000
    assert found["pagefold_process_open_files,1"] > 3
    assert found["pagefold_process_cpu_seconds_total,1"] > 0
    assert abs(found["pagefold_process_start_time_seconds,1"] - time.time()) < 3_600
    assert [name.split(",")[2] for name in found if name.startswith("pagefold_build_info")] == [
        shop.store.name.partition(":")[0]
    ]
    assert found["pagefold_shop_info,,Pagefold,"] == 1


async def test_the_time_of_page_reads_is_sampled(shop: Shop) -> None:
    """Every 32nd, on the fast path as on the other."""
    await say(shop, catalog("shirt"))
    service = service_of(shop, reads_open=True)
    async with served(service) as (host, port), httpx2.AsyncClient(base_url=f"http://{host}:{port}") as client:
        for _ in range(2 * request_log.READ_SAMPLE):
            assert (await client.get("/v1/pages/web-de/TSHIRT-M")).status_code == 200
        found = samples((await client.get("/metrics")).text)
    assert found["pagefold_page_reads_total,1"] == 2 * request_log.READ_SAMPLE
    assert found["pagefold_page_read_seconds_count,1"] == 2
    assert 0 < found["pagefold_page_read_seconds_sum,1"] < 1


@on_sqlite
async def test_requests_that_are_turned_away_are_counted(shop: Shop) -> None:
    """Those that were answered with 429 or 503, but not readiness itself."""
    service = service_of(shop)
    for route, status in (("/v1/events", 429), ("/v1/events", 202), ("/readyz", 503), ("/v1/cdc/{source}", 503)):
        service.traffic.note("POST", route, status, 0, None)
    service.traffic.refused[503] += 1
    assert service.counters().turned_away == 3


# --- the metrics of a worker ------------------------------------------------------------------------


@on_sqlite
async def test_a_worker_serves_its_metrics(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """And whether it lives, and nothing else."""
    async with serving_metrics(shop, "127.0.0.1", 0) as address, httpx2.AsyncClient(base_url=address) as client:
        answer = await client.get("/metrics?x=1")
        assert answer.headers["content-type"].startswith("text/plain; version=")
        assert samples(answer.text)["pagefold_kpi_threshold,lag"] == 300
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.get("/v1/status")).status_code == 404
        assert (await client.post("/metrics")).status_code == 405
        monkeypatch.setattr(shop.retention, "outlook", _unavailable)
        assert (await client.get("/metrics")).status_code == 503


async def _unavailable() -> None:
    raise StoreUnavailable("store", OSError("gone"))


@on_sqlite
async def test_slow_and_strange_clients_of_a_worker_are_let_go(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """And there may be so many."""
    monkeypatch.setattr(metrics_server, "HEAD_SECONDS", 0.2)
    async with serving_metrics(shop, "127.0.0.1", 0) as address:
        port = int(address.rpartition(":")[2])
        for sent in (b"", b"GET", b"x" * 100_000, b"\r\n\r\n"):
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(sent)
                with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):  # noqa: PT012  # it may answer first
                    while True:
                        assert b"404" in await stream.receive()
        with socket.create_connection(("127.0.0.1", port)):
            async with httpx2.AsyncClient() as client:
                assert (await client.get(f"{address}/healthz")).status_code == 200
        with pytest.raises(AddressUnavailable, match="--metrics-host and --metrics-port"):
            async with serving_metrics(shop, "127.0.0.1", port):
                pass
