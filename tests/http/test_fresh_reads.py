"""No page is served in a state from before a commit, by another process or by the server itself."""

import re
from pathlib import Path

import anyio
import httpx2
import pytest

from pagefold import Shop
from pagefold.engine.runtime.task_groups import run_beside
from pagefold.engine.stores.store import Store
from tests.support.command_line import ndjson, product, settle
from tests.support.http_clients import served, service_of
from tests.support.servers import serving, within

CHANGES = 20
PAGE = "/v1/pages/web-de/A"
EVENTS = "/v1/events"
HEADERS = {"content-type": "application/x-ndjson"}


def version_in(answer: httpx2.Response) -> int:
    """The version of the catalog that a page shows; 0 if there is no page."""
    found = re.search(rb'"catalog/pim":(\d+)', answer.content)
    assert (found is not None) is (answer.status_code == 200)
    return int(found[1]) if found is not None else 0


def test_commits_of_another_process_are_served(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the writing process shows a page, the reading one shows it, whatever it has read before."""
    settle(tmp_path, store_url, monkeypatch)
    with (
        serving("--work") as writer,
        serving() as reader,
        httpx2.Client(base_url=writer.url, timeout=30) as there,
        httpx2.Client(base_url=reader.url, timeout=30) as here,
    ):
        for version in range(1, CHANGES + 1):
            before = [version_in(here.get(PAGE)) for _ in range(2)]
            assert before == [version - 1] * 2
            answer = there.post(EVENTS, content=ndjson([product(version=version)]), headers=HEADERS)
            assert answer.status_code == 202
            within(20, "it is folded there", lambda version=version: version_in(there.get(PAGE)) == version)
            assert version_in(here.get(PAGE)) == version
        assert reader.ended() == writer.ended() == 0


async def test_commits_of_the_server_itself_are_served(shop: Shop) -> None:
    """A server with consumers shows each page from the commit on, whatever it has read meanwhile."""
    async with (
        served(service_of(shop, reads_open=True)) as (host, port),
        run_beside(shop.work),
        asking(host, port) as client,
    ):
        for version in range(1, CHANGES + 1):
            answer = await client.post(EVENTS, content=ndjson([product(version=version)]), headers=HEADERS)
            [result] = answer.json()["results"]
            seen = [version_in(await client.get(PAGE))]
            with anyio.fail_after(20):
                while await folded(shop.store) < result["position"]:
                    seen.append(version_in(await client.get(PAGE)))
            assert version_in(await client.get(PAGE)) == version
            assert set(seen) <= {version - 1, version}
            assert seen == sorted(seen)


def asking(host: str, port: int) -> httpx2.AsyncClient:
    """A client that stays on one connection."""
    return httpx2.AsyncClient(base_url=f"http://{host}:{port}", timeout=30)


async def folded(store: Store) -> int:
    """The committed position up to which the catalog is folded."""
    return max(
        (each.position for each in await store.coordination.checkpoints() if each.domain == "catalog"), default=0
    )
