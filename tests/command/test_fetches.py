"""`pagefold fetches`, and what other commands do with what is to be fetched; also after `kill -9`."""

import base64
import hashlib
import hmac
import json
from functools import partial
from pathlib import Path

import anyio
import httpx2
import orjson
import pytest

from pagefold.engine.configuration.config import STORE_VARIABLE
from tests.support.command_line import PROGRAM, Ran
from tests.support.fake_endpoint import Asked, Reply, Server, serving
from tests.support.processes import eventually
from tests.support.servers import serving as serving_pagefold

CONFIG = """
[store]
url = "STORE"
[sources.erp]
domains = ["pricing"]
[sources.erp.webhook]
secret_variables = ["ERP_SECRET"]
scheme = "hmac-sha256"
header = "X-Hmac"
[[sources.erp.webhook.fetch]]
url = "URL/prices/{id}"
after = "0s"
[sources.erp.webhook.fetch.contract]
sku = "code"
sourceVersion = "version"
pricing = { currency = { constant = "EUR" }, amount = "price" }
[channels.web-de]
locale = "de-DE"
currency = "EUR"
"""


class Prices:
    """A source of prices."""

    def __init__(self) -> None:
        self.status = 200
        self.asked: list[str] = []

    def __call__(self, asked: Asked) -> Reply:
        """One price, or none while the server is away."""
        self.asked.append(asked.path)
        price = {"code": asked.path.rpartition("/")[2], "version": 7, "price": "9.50"}
        return Reply(orjson.dumps(price), status=self.status)


@pytest.fixture
def prices() -> Prices:
    """A source of prices."""
    return Prices()


async def in_process(*arguments: str) -> Ran:
    """A command in a process of its own, while this one serves."""
    done = await anyio.run_process([*PROGRAM, *arguments], check=False)
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


def settle(folder: Path, store_url: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the configuration."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv(STORE_VARIABLE, raising=False)
    monkeypatch.setenv("ERP_SECRET", "hush")
    (folder / "pagefold.toml").write_text(CONFIG.replace("URL", server.url).replace("STORE", store_url))


async def notify(url: str, identifier: str) -> None:
    """A signed notification, which is answered."""
    body = json.dumps({"id": identifier}).encode()
    signature = base64.b64encode(hmac.digest(b"hush", body, hashlib.sha256)).decode()
    async with httpx2.AsyncClient(base_url=url) as client:
        answer = await client.post("/v1/webhooks/erp", content=body, headers={"x-hmac": signature})
    assert (answer.status_code, answer.json()["results"][0]["outcome"]) == (202, "wanted")


async def answers(client: httpx2.AsyncClient, path: str, text: str) -> bool:
    """Whether an answer has a text."""
    return text in (await client.get(path)).text


async def test_what_was_acknowledged_is_fetched_after_kill_9(
    tmp_path: Path, store_url: str, prices: Prices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server dies before the fetch; `work --once` in another process makes it, and folds what came."""
    async with serving(prices) as server:
        settle(tmp_path, store_url, server, monkeypatch)
        assert (await in_process("init")).code == 0
        with serving_pagefold() as pagefold:
            await notify(pagefold.url, "A")
            pagefold.process.kill()
        assert prices.asked == []
        listed = await in_process("fetches", "list", "--json")
        assert (listed.document["source"], listed.document["tries"], listed.document["error"]) == ("erp", 0, None)
        assert (await in_process("work", "--once")).code == 0
        assert (await in_process("get", "A", "web-de")).document["pricing"]["amount"] == "9.50"
        assert prices.asked == ["/prices/A"]
        assert (await in_process("fetches")).err.endswith("nothing is to be fetched\n")


async def test_a_server_with_workers_fetches_by_itself(
    tmp_path: Path, store_url: str, prices: Prices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`serve --work`: the page is there soon, and metrics count what is wanted."""
    async with serving(prices) as server:
        settle(tmp_path, store_url, server, monkeypatch)
        assert (await in_process("init")).code == 0
        with serving_pagefold("--work") as pagefold:
            async with httpx2.AsyncClient(base_url=pagefold.url) as client:
                await notify(pagefold.url, "A")
                await eventually(partial(answers, client, "/v1/pages/web-de/A", '"9.50"'), "the page is there")
                prices.status = 503
                await notify(pagefold.url, "B")
                failing = 'pagefold_fetches{source="erp",state="failing"} 1.0'
                await eventually(partial(answers, client, "/metrics", failing), "the failure is counted")
                [counted] = (await client.get("/v1/status")).json()["fetches"]
                assert (counted["source"], counted["wanted"], counted["failing"]) == ("erp", 1, 1)


async def test_what_fails_is_listed(
    tmp_path: Path, store_url: str, prices: Prices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`fetches run` says how many, `fetches list` and `status` why; exit code 1."""
    prices.status = 404
    async with serving(prices) as server:
        settle(tmp_path, store_url, server, monkeypatch)
        assert (await in_process("init")).code == 0
        with serving_pagefold() as pagefold:
            await notify(pagefold.url, "A")
            await notify(pagefold.url, "B")
        ran = await in_process("fetches", "run")
        assert (ran.code, ran.err.splitlines()[-1]) == (1, "0 fetched, 0 missing, 2 failed, 0 dead")
        listed = await in_process("fetches", "list", "--limit", "1")
        assert listed.code == 1
        assert "it answers 404" in " ".join(listed.out.split())
        assert "1 more; --limit shows them" in listed.err
        status = await in_process("status")
        assert "2 records of erp could not be fetched yet: `pagefold fetches list --source erp` says why" in status.err
        prices.status = 200
        await anyio.sleep(1.6)
        ran = await in_process("fetches", "run", "--json")
        assert (ran.code, ran.document) == (0, {"fetched": 2, "missing": 0, "failed": 0, "dead": 0})


@pytest.mark.parametrize(
    ("arguments", "problem"), [(["--source", "epr"], "unknown source 'epr'"), (["--limit", "0"], "0 is less than 1")]
)
async def test_bad_usage(
    arguments: list[str], problem: str, tmp_path: Path, prices: Prices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mistake is named."""
    async with serving(prices) as server:
        settle(tmp_path, "sqlite:///store", server, monkeypatch)
    ran = await in_process("fetches", "list", *arguments)
    assert ran.code == 2
    assert problem in ran.err


async def test_check_finds_what_a_fetch_lacks(tmp_path: Path, prices: Prices, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its secrets, its contract, and paths that no notification can have; with their lines."""
    async with serving(prices) as server:
        settle(tmp_path, "sqlite:///store", server, monkeypatch)
    file = tmp_path / "pagefold.toml"
    good = file.read_text()
    for old, new, problem in (
        ('after = "0s"', 'token_variable = "ERP_TOKEN"', "token_variable: the environment variable ERP_TOKEN is not"),
        ("{id}", "{a..b}", "pagefold.toml:11: sources.erp.webhook.fetch[0].url: "),
        ('sku = "code"', 'sku = ""', "toml:16: sources.erp.webhook.fetch[0].contract"),
    ):
        file.write_text(good.replace(old, new))
        ran = await in_process("check")
        assert ran.code == 2
        assert problem in ran.err
