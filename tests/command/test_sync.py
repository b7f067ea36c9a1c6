"""`pagefold sync`: asks sources for changes, and says what came."""

import socket
from pathlib import Path

import anyio
import orjson
import pytest

from tests.support.command_line import PROGRAM, Ran, run_pagefold
from tests.support.fake_endpoint import Asked, Reply, serving

CONFIG = """
[store]
url = "sqlite:///store"
[sources.erp]
domains = ["pricing"]
[sources.erp.delta]
url = "URL/prices?since={since}"
since_format = "datetime"
every = "1s"
start = "2026-03-01T02:00:00Z"
requests_per_second = 1000.0
[sources.erp.contract]
sku = "code"
versions = "none"
pricing = { currency = { constant = "EUR" }, amount = "price" }
[channels.web-de]
locale = "de-DE"
currency = "EUR"
"""


def reply(asked: Asked) -> Reply:
    """Two prices, one of which is none."""
    assert asked.query == {"since": "2026-03-01 02:00:00"}
    return Reply(orjson.dumps([{"code": "A", "price": 9.5}, {"code": "B", "price": "?"}]))


async def in_process(*arguments: str) -> Ran:
    """A command in a process of its own, while this one serves."""
    done = await anyio.run_process([*PROGRAM, *arguments], check=False)
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


async def test_what_came_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts, the first refusal, and exit code 1; the run is listed by `pagefold schedule runs`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAGEFOLD_STORE", raising=False)
    async with serving(reply) as server:
        (tmp_path / "pagefold.toml").write_text(CONFIG.replace("URL", server.url))
        assert (await in_process("init")).code == 0
        code, _, err = await in_process("sync")
    assert code == 1
    assert err.startswith("erp: 2 records since 2026-03-01T02:00:00Z, 1 appended, 1 refused; row 2: ")
    code, out, _ = await in_process("schedule", "runs", "--json")
    [record] = map(orjson.loads, out.splitlines())
    assert (record["task"], record["state"]) == ("sync erp", "attention")
    await anyio.sleep(2.1)
    code, out, err = await in_process("status")
    assert code == 1
    assert "synced" in out
    assert 'erp is overdue: `pagefold schedule runs "sync erp"` lists its runs' in err


def test_a_source_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 3, after all retries; the message has its address."""
    monkeypatch.chdir(tmp_path)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and does not listen
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (tmp_path / "pagefold.toml").write_text(CONFIG.replace("URL", address))
        assert run_pagefold("init").code == 0
        code, _, err = run_pagefold("sync", "erp")
    assert code == 3
    assert f"pagefold: {address}/prices: the response is incomplete: ConnectError" in err


async def test_what_is_held_is_shown_and_confirmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six prices are gone, of which none may be withdrawn: `sync` and `status` say so, until `--yes`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAGEFOLD_STORE", raising=False)
    state = ["sold"]

    def reply(_asked: Asked) -> Reply:
        return Reply(orjson.dumps([{"code": f"A{number}", "price": 9.5, "state": state[0]} for number in range(6)]))

    async with serving(reply) as server:
        text = CONFIG.replace("URL", server.url).replace('every = "1s"', "max_orphans = 0")
        text = text.replace("pricing = { currency", 'pricing = { withdraw = { state = ["gone"] }, currency')
        (tmp_path / "pagefold.toml").write_text(text)
        assert (await in_process("init")).code == 0
        assert (await in_process("sync")).code == 0
        state[0] = "gone"
        held = "6 streams would be withdrawn; without a confirmation, 0 may be: `pagefold sync erp --yes` appends it"
        code, _, err = await in_process("sync")
        assert code == 1
        assert f"held: {held}" in err
        code, _, err = await in_process("status")
        assert code == 1
        assert f"the sync of erp is held: {held}" in err
        code, _, err = await in_process("sync", "erp", "--yes")
        assert code == 0
        assert "6 appended" in err
        assert (await in_process("status")).code == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["epr"], "unknown source 'epr'; did you mean 'erp'"),
        (["pim"], "sources.pim.delta: is required"),
        (["--yes"], "--yes: name the sources: `pagefold sync SOURCE --yes`"),
    ],
)
def test_sources_that_cannot_be_asked(
    arguments: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is named, before anything is asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAGEFOLD_STORE", raising=False)
    (tmp_path / "pagefold.toml").write_text(
        CONFIG.replace("URL", "https://erp.example") + '[sources.pim]\ndomains = ["catalog"]\n'
    )
    code, _, err = run_pagefold("sync", *arguments)
    assert code == 2
    assert problem in err
