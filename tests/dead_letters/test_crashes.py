"""A server is killed while it takes requests: every acknowledged one is completely in the log and in dead letters."""

import random
import signal
import threading
from pathlib import Path

import anyio
import httpx2
import pytest

import pagefold
from pagefold import Config
from tests.support.command_line import settle
from tests.support.debezium_messages import envelope
from tests.support.servers import Server, serving
from tests.support.small_shop import everything

KILLS = 3
TABLES = """
[sources.erp.cdc.contract]
sku = "item"
pricing = { amount = "price", currency = { constant = "EUR" } }
"""


class Sender:
    """Sends batches of two good rows with a bad one between them, and repeats each until it is acknowledged."""

    def __init__(self) -> None:
        self.acknowledged: list[int] = []
        self.next = 0

    def send_until_it_dies(self, url: str) -> None:
        """Starts with the first batch that was not acknowledged."""
        with httpx2.Client(base_url=url, timeout=10) as client:
            while self.send(client):
                pass

    def send(self, client: httpx2.Client) -> bool:
        """Sends the next batch; False if the server is gone."""
        try:
            answer = client.post("/v1/cdc/erp", json=batch(self.next))
        except httpx2.TransportError:
            return False
        assert answer.status_code == 202, answer.text
        outcomes = [each["outcome"] for each in answer.json()["results"]]
        assert outcomes[1] == "kept"
        assert {outcomes[0], outcomes[2]} <= {"appended", "duplicate"}
        self.acknowledged.append(self.next)
        self.next += 1
        return True


def batch(number: int) -> list[object]:
    """Two valid rows with an invalid one between them."""
    prices = {f"G{number}": "1.00", f"B{number}": "free", f"H{number}": "2.00"}
    return [envelope("c", None, {"item": sku, "price": price}) for sku, price in prices.items()]


async def stored_skus(config: Config) -> tuple[list[str], list[str]]:
    """The SKUs in the log, and those in open dead letters."""
    async with pagefold.open(config) as shop:
        log = [each.originator_id.partition("/")[0] for each in await everything(shop.store)]
        dead_letters = [
            dead_letter.originator_id.partition("/")[0]
            for dead_letter in await shop.store.dead_letters.newest(limit=10**6)
        ]
        return log, dead_letters


def test_a_killed_server_has_lost_nothing(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing acknowledged is lost, and a batch sent again is stored once, in the log or in dead letters."""
    place = settle(tmp_path, store_url, monkeypatch)
    with (place / "pagefold.toml").open("a", encoding="utf-8") as file:
        file.write(TABLES)
    config, sender, luck = Config.load(place / "pagefold.toml"), Sender(), random.Random(7)
    for _ in range(KILLS):
        with serving("--workers", "1") as server:
            killed_while_it_takes(server, sender, luck.uniform(0.05, 0.4))
        log, dead_letters = anyio.run(stored_skus, config)
        for number in sender.acknowledged:
            assert {f"G{number}", f"H{number}"} <= set(log)
            assert f"B{number}" in dead_letters
    with serving("--workers", "1") as server, httpx2.Client(base_url=server.url, timeout=10) as client:
        assert sender.send(client)
        assert server.ended() == 0
    log, dead_letters = anyio.run(stored_skus, config)
    assert sorted(log) == sorted(f"{letter}{number}" for number in range(sender.next) for letter in "GH")
    assert sorted(dead_letters) == sorted(f"B{number}" for number in range(sender.next))


def killed_while_it_takes(server: Server, sender: Sender, seconds: float) -> None:
    """Kills a server some time after its first acknowledgement."""
    before = len(sender.acknowledged)
    thread = threading.Thread(target=sender.send_until_it_dies, args=(server.url,))
    thread.start()
    try:
        while len(sender.acknowledged) == before and thread.is_alive():
            thread.join(0.01)
        thread.join(seconds)
    finally:
        server.process.send_signal(signal.SIGKILL)
        thread.join(20)
    assert len(sender.acknowledged) > before
