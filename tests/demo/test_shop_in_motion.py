"""`pagefold demo --serve`: a server over a shop in which changes come in, and some things need a person."""

import re
import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.command_line import finished, run_pagefold, spawn, wait_for
from tests.support.servers import within


def test_a_shop_in_motion(tmp_path: Path) -> None:
    """The address is printed; more events come in; a rebuild and the configuration are held; Ctrl-C ends it cleanly."""
    process = spawn("demo", "--serve", "--port", "0", "--skus", "200", environment={"TMPDIR": str(tmp_path)})
    try:
        address = wait_for(process, "/ui").splitlines()[-1].split("/ui")[0]
        with httpx2.Client(base_url=address, trust_env=False) as client:

            def status() -> Any:  # noqa: ANN401  # JSON
                return client.get("/v1/status").json()

            before = status()
            assert before["configuration"]["held"]
            end = before["domains"][0]["logEnd"]
            within(20, "more events come in", lambda: status()["domains"][0]["logEnd"] > end)
            within(20, "amounts with a comma are dead letters", lambda: status()["deliveries"] >= 12)
            letters = client.get("/v1/dead-letters", params={"source": "portal"}).json()["items"]
            assert all("'19,90' is not a number" in each["error"] for each in letters)
        [folder] = tmp_path.iterdir()
        shown = run_pagefold("rebuilds", "list", "--config", str(folder / "pagefold.toml"))
        assert re.search(r"^pim-\S+ +held ", shown.out, re.MULTILINE)
    finally:
        process.send_signal(signal.SIGINT)
        ran = finished(process)
    assert (ran.code, ran.err) == (0, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [("--port", "8080"), ("--serve", "--json"), ("--serve", "--plain")])
def test_options_that_contradict_each_other(options: tuple[str, ...]) -> None:
    """They are refused before anything is made."""
    ran = run_pagefold("demo", *options)
    assert (ran.code, "cannot" in ran.err or "goes with" in ran.err) == (2, True)
