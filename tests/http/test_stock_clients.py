"""Stock clients against `pagefold serve`, with one process and two: every acknowledged event is in the log.

They run where they are installed; what they send is recorded in `test_upgrades.py`, which runs everywhere.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import anyio
import pytest

import pagefold
from pagefold import Config
from tests.support.command_line import event, on_sqlite, settle
from tests.support.servers import serving
from tests.support.small_shop import everything

CLIENTS = Path(__file__).parent / "stock_clients"
WAREHOUSE = """
[sources.wms-berlin.cdc]
tables = ["public.stock"]
contract = { sku = "item_no", inventory.available = "on_hand" }
"""
JSON, NDJSON = "application/json", "application/x-ndjson"


class Posted(NamedTuple):
    """One request, and the stream of its event."""

    path: str
    media_type: str
    body: str
    stream: str


def row(number: int) -> dict[str, object]:
    """A row's change, as Debezium sends it."""
    origin = {"schema": "public", "table": "stock", "lsn": 100 + number, "ts_ms": 1767434400000}
    return {"op": "c", "before": None, "after": {"item_no": f"T-{number}", "on_hand": 5}, "source": origin}


def requests() -> list[Posted]:
    """Events and CDC messages, one by one, in every format."""
    found = []
    for number in range(3):
        single, several = event(f"E-{number}"), [event(f"L-{number}", amount="2.00")]
        found += [
            Posted("/v1/events", JSON, json.dumps(single), f"E-{number}/*/pricing/erp"),
            Posted("/v1/events", NDJSON, json.dumps(several[0]), f"L-{number}/*/pricing/erp"),
            Posted("/v1/cdc/wms-berlin", JSON, json.dumps(row(number)), f"T-{number}/*/inventory/wms-berlin"),
        ]
    return found


# --- the clients ----------------------------------------------------------------------------------


def program(*names: str, inside: str = "") -> str:
    """The first of these programs that is installed. Skips the test if none is."""
    home = os.environ.get(inside) if inside else None
    places = [*([str(Path(home) / "bin")] if home else []), os.environ.get("PATH", "")]
    for name in names:
        if (found := shutil.which(name, path=os.pathsep.join(places))) is not None:
            return found
    pytest.skip(f"there is no {' or '.join(names)} on this machine")


def run(command: Sequence[str], text: str, folder: Path) -> list[str]:
    """The output of a program for an input, line by line."""
    caches = {
        "GOCACHE": str(folder / "go"),
        "GOPATH": str(folder / "gopath"),
        "GOFLAGS": "-mod=mod",
        "GO111MODULE": "off",
    }
    ran = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=300, check=False, env={**os.environ, **caches}
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def java(url: str, lines: str, folder: Path) -> list[str]:
    """`java.net.http.HttpClient`, compiled if there is a compiler."""
    program("javac", inside="JAVA_HOME")
    return run([program("java", inside="JAVA_HOME"), str(CLIENTS / "Client.java"), url], lines, folder)


def node(url: str, lines: str, folder: Path) -> list[str]:
    """`node:http`, and `fetch`."""
    return run([program("node", "nodejs"), str(CLIENTS / "client.mjs"), url], lines, folder)


def go(url: str, lines: str, folder: Path) -> list[str]:
    """`net/http`."""
    return run([program("go"), "run", str(CLIENTS / "client.go"), url], lines, folder)


def curl(url: str, lines: str, folder: Path) -> list[str]:
    """`curl --http2`, which offers it, with a body of known length and a streamed one."""
    found = program("curl")
    if "HTTP2" not in subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("the curl of this machine has no HTTP/2")
    said = []
    for line in lines.splitlines():
        path, media_type, body = line.split("\t")
        ask = [found, "-sS", "--http2", "-o", "/dev/null", "-w", "%{http_code}\\t%{http_version}\\n"]
        ask += ["-H", f"content-type: {media_type}", url + path]
        said += run([*ask, "--data-binary", "@-"], body, folder)
        said += run([*ask, "-X", "POST", "-T", "-"], body, folder)
        said += run([*ask, "-H", "Expect: 100-continue", "--data-binary", "@-"], body, folder)
    return said


@on_sqlite
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("client", [java, node, go, curl])
def test_events_of_stock_clients_are_in_the_log(
    tmp_path: Path,
    store_url: str,
    monkeypatch: pytest.MonkeyPatch,
    client: Callable[[str, str, Path], list[str]],
    workers: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Every way to send a body, on persistent connections and new ones: accepted, and in the log once."""
    place = settle(tmp_path, store_url, monkeypatch)
    with (place / "pagefold.toml").open("a", encoding="utf-8") as settings:
        settings.write(WAREHOUSE)
    posted = requests()
    lines = "".join(f"{each.path}\t{each.media_type}\t{each.body}\n" for each in posted)
    with serving("--workers", workers) as server:
        said = client(server.url, lines, tmp_path_factory.getbasetemp())
        assert server.ended() == 0
    assert {line.split("\t")[0] for line in said} == {"202"}, said
    assert len(said) % len(posted) == 0
    assert len(said) >= 3 * len(posted)
    assert anyio.run(streams, Config.load(place / "pagefold.toml")) == sorted(each.stream for each in posted)


async def streams(config: Config) -> list[str]:
    """Those of the events in the log, in order, with repetitions."""
    async with pagefold.open(config) as shop:
        return sorted(each.originator_id.replace("%2A", "*") for each in await everything(shop.store))


@on_sqlite
@pytest.mark.parametrize("workers", ["1", "2"])
def test_http_2_without_asking_is_refused(
    tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    """A client that assumes HTTP/2 gets no success, and the server continues."""
    settle(tmp_path, store_url, monkeypatch)
    ask = [program("curl"), "-sS", "--http2-prior-knowledge", "-H", f"content-type: {JSON}", "--data-binary", "@-"]
    with serving("--workers", workers) as server:
        ran = subprocess.run(
            [*ask, f"{server.url}/v1/events"],
            input=json.dumps(event()),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode != 0
        assert server.get("/healthz").status_code == 200
        assert 'outcome="appended",worker="1"} 0.0' in server.get("/metrics").text
        assert server.ended() == 0
