"""A whole shop over HTTP: its events posted to a process, and a server that is killed under load."""

import json
import random
import socket
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import anyio
import httpx2
import msgspec
import pytest

import pagefold
from pagefold import Config
from pagefold.engine.configuration.config import CONFIG_VARIABLE, STORE_VARIABLE
from pagefold.engine.demo import sample_shop
from pagefold.engine.demo.reference_model import Document, Model
from tests.faults.test_sunrise import CHANNELS, FILES, Oracle
from tests.support.command_line import event, ndjson, on_sqlite, run_pagefold, settle
from tests.support.fault_scenario import SOAK_ROUNDS, SOAK_SEED
from tests.support.servers import Server, kill, serving, within
from tests.support.shared_data import data_file
from tests.support.small_shop import everything

EVENTS = "/v1/events"
HEADERS = {"content-type": "application/x-ndjson"}
SKUS, CHANGES = 160, 400
"""Of the demo's shop."""

KILLS = 3
BATCH = 20
SENDERS = 4


# --- a whole shop ---------------------------------------------------------------------------------


class Story(NamedTuple):
    """A shop over HTTP: its configuration, its events as lines, and the page of each (None: hidden)."""

    config: Path
    lines: list[bytes]
    pages: Mapping[tuple[str, str], Document | None]


def of_the_files(_folder: Path) -> Story:
    """The four files of a real shop; the pages are those that a person expects who reads the files."""
    lines = [line for name in FILES for line in data_file("sunrise", f"{name}.ndjson").read_bytes().splitlines()]
    oracle = Oracle()
    pages = {(sku, channel): oracle.page(sku, channel) for sku in oracle.catalog for channel in CHANNELS}
    return Story(data_file("sunrise", "pagefold.toml"), lines, pages)


def of_the_demo(folder: Path) -> Story:
    """The demo's shop and a part of its day; the pages are the model's, which shares no code with the program."""
    shop = sample_shop.Shop(skus=SKUS)
    config = folder / "demo.toml"
    config.write_text(shop.config("sqlite:///unused"), encoding="utf-8")
    events = [*shop.catalog(), *shop.changes(CHANGES)]
    model = Model(tomllib.loads(config.read_text(encoding="utf-8")))
    assert {model.submit(each) for each in events} == {"appended"}
    pages = {key: None if (page := model.page(*key)) is None else json.loads(page) for key in model.pages()}
    return Story(config, [msgspec.json.encode(each) for each in events], pages)


def chunks(lines: list[bytes], size: int = 500) -> Iterator[bytes]:
    """Bodies of that many lines, below a megabyte."""
    for start in range(0, len(lines), size):
        yield b"\n".join(lines[start : start + size])


@pytest.mark.parametrize("story_of", [of_the_files, of_the_demo])
def test_a_shop_over_http(
    story_of: Callable[[Path], Story], tmp_path: Path, new_store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every event is posted to a process, and every page that it serves equals the oracle's."""
    story = story_of(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CONFIG_VARIABLE, str(story.config))
    monkeypatch.setenv(STORE_VARIABLE, new_store_url)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    assert run_pagefold("status").code == 3
    make_store(story.config, new_store_url)
    with serving("--work") as server, httpx2.Client(base_url=server.url, timeout=30) as client:
        for body in chunks(story.lines):
            answer = client.post(EVENTS, content=body, headers=HEADERS)
            assert answer.status_code == 202, answer.text
            assert {each["outcome"] for each in answer.json()["results"]} == {"appended"}
        within(30, "everything is folded", lambda: folded(server) == len(story.lines))
        assert {key: page_of(client, *key) for key in story.pages} == story.pages
        assert server.ended() == 0


def test_the_shops_cover_enough(tmp_path: Path) -> None:
    """The demo's has pages in every channel, hidden ones, and SKUs that a path has to encode."""
    story = of_the_demo(tmp_path)
    assert len(story.lines) > SKUS * 6
    assert len(story.pages) == SKUS * 4
    assert 0 < sum(page is None for page in story.pages.values()) < SKUS
    assert any(quote(sku, safe="") != sku for sku, _ in story.pages)


def page_of(client: httpx2.Client, sku: str, channel: str) -> Document | None:
    """A page as it is served; None if the server has none to show."""
    answer = client.get(f"/v1/pages/{channel}/{quote(sku, safe='')}")
    assert answer.status_code in {200, 404, 410}
    page: Document = answer.json()
    return page if answer.status_code == 200 else None


def make_store(config: Path, url: str) -> None:
    """An empty store at that address."""

    async def make() -> None:
        async with pagefold.open(Config.load(config, store=url)):
            pass

    anyio.run(make)


def folded(server: Server) -> int:
    """Events of all domains that were folded, or stale."""
    lines = [line for line in server.get("/metrics").text.splitlines() if line.startswith("pagefold_folded_events_to")]
    return sum(int(float(line.rpartition(" ")[2])) for line in lines)


# --- a server that is killed ----------------------------------------------------------------------


class Answered(NamedTuple):
    """What a sender was answered about an event."""

    sku: str
    version: int
    outcome: str
    position: int


class Senders:
    """Threads that post events as fast as they are answered, while a server lives, and record every answer."""

    def __init__(self) -> None:
        self.answers: list[Answered] = []
        self.sent = 0
        self._lock = threading.Lock()

    def run(self, url: str, number: int) -> None:
        """One thread. A request without an answer is not counted, and is sent again to the next server."""
        with httpx2.Client(base_url=url, timeout=10) as client:
            while True:
                with self._lock:
                    first, self.sent = self.sent, self.sent + BATCH
                events = [event(f"S{number}-{each}", each + 1) for each in range(first, first + BATCH)]
                try:
                    answer = client.post(EVENTS, content=ndjson(events), headers=HEADERS)
                except httpx2.HTTPError:
                    return
                assert answer.status_code == 202, answer.text
                results = answer.json()["results"]
                with self._lock:
                    self.answers += [
                        Answered(str(each["sku"]), first + index + 1, result["outcome"], result["position"])
                        for index, (each, result) in enumerate(zip(events, results, strict=True))
                    ]


def kill_servers(senders: Senders, luck: random.Random, kills: int) -> None:
    """Starts a server, and kills one of its processes under load, then the first process: again and again."""
    for _ in range(kills):
        with serving("--work") as server:
            threads = [threading.Thread(target=senders.run, args=(server.url, each)) for each in range(SENDERS)]
            before = len(senders.answers)
            for thread in threads:
                thread.start()
            within(20, "something is answered", lambda before=before: len(senders.answers) > before)
            time.sleep(luck.uniform(0.0, 0.4))
            kill(luck.choice([server.process.pid, *server.processes()]))
            time.sleep(luck.uniform(0.0, 0.2))
            server.process.kill()
            for thread in threads:
                thread.join()


async def judge(config: Config, answers: list[Answered]) -> None:
    """Every acknowledged event is in the log, at its position, and none is there twice."""
    async with pagefold.open(config) as shop:
        stored = {each.notification_id: each for each in await everything(shop.store)}
        assert len({(each.originator_id, each.originator_version) for each in stored.values()}) == len(stored)
        for each in answers:
            assert each.outcome == "appended"
            found = stored[each.position]
            assert (found.originator_id, found.originator_version) == (f"{each.sku}/*/pricing/erp", each.version)
            assert json.loads(found.state)["payload"] == {"currency": "EUR", "amount": "1.00"}
        await shop.catch_up()
        assert await shop.dead_letters.newest() == []


@pytest.mark.parametrize(
    ("kills", "seed"),
    [(KILLS, "ordinary"), pytest.param(max(SOAK_ROUNDS, 20), SOAK_SEED, marks=pytest.mark.soak)],
)
def test_a_server_is_killed_under_load(
    tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch, kills: int, seed: object
) -> None:
    """Killed again and again while four senders post: every event that was answered 2xx is in the log."""
    place = settle(tmp_path, store_url, monkeypatch)
    senders = Senders()
    kill_servers(senders, random.Random(f"{seed}"), kills)
    assert len(senders.answers) >= kills
    anyio.run(judge, Config.load(place / "pagefold.toml"), senders.answers)


# --- incomplete bodies ----------------------------------------------------------------------


@on_sqlite
def test_bodies_that_are_cut_short(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body shorter than its length is refused, even if it has complete events; one in pieces is accepted."""
    settle(tmp_path, store_url, monkeypatch)
    body = ndjson([event(f"S{number}") for number in range(3)])
    head = b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n"
    with serving() as server:
        with socket.create_connection(("127.0.0.1", server.port)) as line:
            line.sendall(head + b"content-length: %d\r\n\r\n" % (len(body) + 1) + body)
        with socket.create_connection(("127.0.0.1", server.port)) as line:
            line.sendall(head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(body), body))
        with socket.create_connection(("127.0.0.1", server.port)) as line:
            line.sendall(head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\nnothing\r\n\r\n" % (len(body), body))
            assert line.makefile("rb").readline().startswith(b"HTTP/1.1 400")
        time.sleep(0.2)
        assert 'outcome="appended",worker="1"} 0.0' in server.get("/metrics").text
        with socket.create_connection(("127.0.0.1", server.port)) as line:
            line.sendall(head + b"transfer-encoding: chunked\r\n\r\n")
            for start in range(0, len(body), 100):
                piece = body[start : start + 100]
                line.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
                time.sleep(0.01)
            line.sendall(b"0\r\n\r\n")
            assert line.makefile("rb").readline().startswith(b"HTTP/1.1 202")
        assert server.ended() == 0
