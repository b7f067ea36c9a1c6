"""The memory of processes with the largest possible events. The soak has many more of them."""

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx2
import orjson
import pytest

from pagefold.engine.command.options import LOG_LEVEL_VARIABLE
from tests.support.command_line import finished, product, run_pagefold, settle, start_python
from tests.support.servers import Server, serving, within

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

MEGABYTES = 400
"""Megabytes of a process, at most, however large the log."""

KILOBYTE = 1_000
POLL_SECONDS = 0.02


@pytest.fixture
def place(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a configuration and an empty store. It is removed after the test: it may hold gigabytes."""
    yield settle(tmp_path, store_url, monkeypatch)
    shutil.rmtree(tmp_path)


def write_products(file: Path, number: int, kilobytes: int, version: int = 1) -> None:
    """Products with catalog events of that many kilobytes, half in many small attributes, half in long texts."""
    text = "x" * (20 * KILOBYTE - 20)
    few = {f"text{each}": text for each in range(max(kilobytes // 40, 1))}
    many = {f"attribute{each:06}": f"value {each:06} of many" for each in range(kilobytes * 10)}
    with file.open("wb") as out:
        for each in range(number):
            sku = f"SKU-{each:05}"
            payload = {"attributes": {"code": sku, **few, **many}}
            out.write(orjson.dumps({**product(sku, version), "payload": payload}) + b"\n")


def peak(process: int) -> int | None:
    """The maximum megabytes of a process; None if it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    except OSError:
        return None
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(found[0]) // 1024 if found else None


def peak_of(*arguments: str) -> int:
    """The maximum megabytes of a command, which must succeed."""
    started = time.monotonic()
    process = start_python(*arguments, environment={LOG_LEVEL_VARIABLE: "warning"})
    largest = 0
    while process.poll() is None:
        largest = max(largest, peak(process.pid) or 0)
        time.sleep(POLL_SECONDS)
    ran = finished(process)
    assert ran.code == 0, ran.err
    report(arguments[0], started)
    return largest


def report(stage: str, started: float) -> None:
    """Prints how long it took, with `pytest -s`."""
    print(f"{stage}: {time.monotonic() - started:.0f} s")  # noqa: T201


def peaks_of(server: Server) -> Iterator[int]:
    """Those of all its processes."""
    for process in (server.process.pid, *server.processes()):
        largest = peak(process)
        assert largest is not None
        yield largest


def read_pages(server: Server, skus: Sequence[str]) -> None:
    """Each page alone, and the largest batches; batches that are too large are refused."""
    for sku in skus[:50]:
        assert httpx2.get(f"{server.url}/v1/pages/web-de/{sku}").status_code == 200
    for together, status in ((skus[:20], 200), (skus[:500], 422)):
        answer = httpx2.post(
            f"{server.url}/v1/pages:batchGet", json={"channel": "web-de", "skus": together}, timeout=60
        )
        assert answer.status_code == status


def judge(place: Path, monkeypatch: pytest.MonkeyPatch, number: int, kilobytes: int) -> dict[str, int]:
    """Appends large events, folds, verifies and replays them under a server, and reads them."""
    file = place / "products.ndjson"
    write_products(file, number, kilobytes)
    peaks = {"ingest": peak_of("ingest", str(file)), "work": peak_of("work", "--once"), "verify": peak_of("verify")}
    write_products(file, number, kilobytes, version=2)
    monkeypatch.setenv(LOG_LEVEL_VARIABLE, "warning")  # its logs are discarded
    with serving("--work", start=start_python) as server:
        started = time.monotonic()
        assert run_pagefold("ingest", str(file)).code == 0
        within(900, "everything is folded", lambda: is_folded(server))
        report("serve", started)
        read_pages(server, [f"SKU-{each:05}" for each in range(number)])
        peaks |= {f"serve {each}": largest for each, largest in enumerate(peaks_of(server))}
    return peaks


def is_folded(server: Server) -> bool:
    """Whether everything is folded."""
    return 'pagefold_lag_events{domain="catalog"} 0.0' in server.get("/metrics").text


def test_some_large_events(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of the largest events, which need more if they are held together."""
    peaks = judge(place, monkeypatch, 80, 1_000)
    assert max(peaks.values()) < MEGABYTES, peaks


@pytest.mark.soak
@pytest.mark.parametrize(("number", "kilobytes"), [(2_000, 1_000), (20_000, 100)])
def test_many_large_events(place: Path, monkeypatch: pytest.MonkeyPatch, number: int, kilobytes: int) -> None:
    """Two thousand of the largest events, and twenty thousand of a tenth of that."""
    peaks = judge(place, monkeypatch, number, kilobytes)
    print(peaks)  # noqa: T201  # shown with `pytest -s`
    assert max(peaks.values()) < MEGABYTES, peaks
