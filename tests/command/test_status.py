"""`pagefold status`: the verdict, key figures, exit codes, and watching."""

import signal
import time
from pathlib import Path

import orjson
import pytest

from tests.support.command_line import finished, on_sqlite, run_pagefold, settle, spawn

EVENT = (
    b'{"type":"catalog","sku":"A","channel":"*","source":"pim","sourceVersion":1,"occurredAt":"2026-01-01T08:00:00Z",'
    b'"payload":{"attributes":{"size":"M"}}}\n'
)


@pytest.fixture
def place(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a shop, in which an event is to be folded."""
    folder = settle(tmp_path, store_url, monkeypatch)
    (folder / "events.ndjson").write_bytes(EVENT)
    assert run_pagefold("ingest", "events.ndjson").code == 0
    return folder


def test_what_is_crossed_comes_first(place: Path) -> None:
    """As a sentence, and the command ends with 1 until it recovers."""
    assert run_pagefold("status").code == 0
    settings = place / "pagefold.toml"
    settings.write_text(f"{settings.read_text()}\n[kpis.lag]\nthreshold = 0\n")
    code, out, _ = run_pagefold("status")
    assert code == 1
    assert out.splitlines()[1].startswith("1 limit is crossed: Lag of catalog: ")
    document = run_pagefold("status", "--json").document
    [lag] = [each for each in document["kpis"] if each["crossed"]]
    assert (lag["kpi"], lag["label"], lag["threshold"], lag["severity"]) == ("lag", "catalog", 0.0, "critical")
    assert document["verdict"].startswith("1 limit is crossed: Lag of catalog: ")
    assert run_pagefold("work", "--once").code == 0
    code, out, _ = run_pagefold("status")
    assert (code, out.splitlines()[1]) == (0, "No limit is crossed. 1 of 19 values are not known yet.")


@on_sqlite
def test_it_is_shown_again_until_a_signal(place: Path) -> None:
    """One document after the other; it follows the store."""
    process = spawn("status", "--watch", "--json")
    assert process.stdout is not None
    first = orjson.loads(process.stdout.readline())
    assert first["domains"][0]["lagEvents"] == 1
    assert run_pagefold("work", "--once").code == 0
    deadline = time.monotonic() + 30
    while orjson.loads(process.stdout.readline())["domains"][0]["lagEvents"]:
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    assert finished(process).code == 130
