"""What a server answers while its log is not the one that was folded, or its pages are lost."""

from pathlib import Path

import anyio
import httpx2
import pytest

from pagefold import Config, Shop
from pagefold.engine.stores.sqlite import folder_of
from tests.stores.test_log_proof import many, put_back
from tests.support.http_clients import client_of, problem_in, service_of
from tests.support.small_shop import as_document, catalog, say, stock

SECONDS_THAT_COUNT = 1.1
"""The result of a check counts for a second."""

SECONDS_THAT_FAULTS_LAST = 20.0
"""A failed append counts for ten, unless another is attempted."""


async def test_ingest_is_refused_and_pages_are_served(shop: Shop) -> None:
    """Every way of intake answers 503 and says what to do; readiness and metrics distinguish ingest from reads."""
    await say(shop, *many(10), catalog("shirt", sku="LAST"))
    async with client_of(service_of(shop)) as client:
        assert not await problems_of(client)
        await put_back(shop, 5)
        await anyio.sleep(SECONDS_THAT_COUNT)
        answer = await client.post("/v1/events", json=as_document(stock(1, sku="NEW")))
        assert answer.status_code == 503
        assert "pagefold recover" in problem_in(answer)["detail"]
        ready = await client.get("/readyz/ingest")
        assert ready.status_code == 503
        assert "ends at 5" in (await problems_of(client))["log-identity"]
        assert (await client.get("/readyz/reads")).status_code == 200
        assert (await client.get("/v1/pages/web-de/LAST")).status_code == 200
        assert 'pagefold_check_ok{check="log-identity"} 0.0' in (await client.get("/metrics")).text
        await shop.recover(confirmed=True)
        with anyio.fail_after(SECONDS_THAT_FAULTS_LAST):
            while await problems_of(client):  # noqa: ASYNC110  # there is no notification
                await anyio.sleep(0.2)
        assert (await client.post("/v1/events", json=as_document(stock(1, sku="NEW")))).status_code == 202
        assert (await client.get("/v1/pages/web-de/LAST")).status_code == 404


async def problems_of(client: httpx2.AsyncClient) -> dict[str, str]:
    """The problems of ingest, by check."""
    checks = (await client.get("/readyz/ingest")).json()["checks"]
    return {check["name"]: check["problem"] for check in checks if not check["ok"]}


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
async def test_lost_pages_are_never_404(shop: Shop, config: Config) -> None:
    """Until they are folded again, every read is 503; then everything is as before."""
    await say(shop, *many(10), catalog("shirt", sku="S001"))
    async with client_of(service_of(shop)) as client:
        page = (await client.get("/v1/pages/web-de/S001")).content
        delete_pages(folder_of(config.store.url))
        await anyio.sleep(0.15)
        for answer in [
            await client.get("/v1/pages/web-de/S001"),
            await client.get("/v1/pages/web-de"),
            await client.post("/v1/pages:batchGet", json={"channel": "web-de", "skus": ["S001"]}),
        ]:
            assert answer.status_code == 503, answer.text
        assert (await client.get("/readyz/reads")).status_code == 503
        await shop.catch_up()
        await anyio.sleep(SECONDS_THAT_COUNT)
        assert (await client.get("/v1/pages/web-de/S001")).content == page
        assert (await client.get("/readyz/reads")).status_code == 200


def delete_pages(folder: Path) -> None:
    """Deletes the pages, as somebody may who needs disk space."""
    for file in folder.glob("pages.db*"):
        file.unlink()
