"""`pagefold audit`, and what commands leave in it."""

import getpass
from pathlib import Path

import pytest

from tests.support.command_line import event, lines_file, run_pagefold, settle


@pytest.fixture
def workplace(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a configuration and an empty store, of each kind."""
    return settle(tmp_path, store_url, monkeypatch)


def test_commands_leave_entries(workplace: Path) -> None:
    """With the login name or the one given, the command, the reason, and why it was refused; newest first."""
    assert run_pagefold("audit", "--action", "apply").err == "nothing was done yet\n"
    run_pagefold("ingest", lines_file(workplace / "events.ndjson", event(), event(amount="9.99")))
    discard = ("dead-letters", "discard", "--all", "--reason", "a test\x1b[31m", "--as", "ada")
    assert run_pagefold(*discard, "--expect", "5").code == 1
    assert run_pagefold(*discard, "--yes").code == 0
    assert run_pagefold("verify", "--domain", "pricing").code == 0
    verified, discarded, refused, ingested, made = run_pagefold("audit", "--json").documents
    assert (made["action"], ingested["action"], ingested["outcome"]) == ("init", "ingest", "done")
    assert ingested["details"] == {"lines": 2, "appended": 1, "conflict": 1}
    assert (verified["action"], verified["target"], verified["actor"]) == ("verify", "pricing", getpass.getuser())
    assert verified["command"] == "pagefold verify --domain pricing"
    assert (discarded["actor"], discarded["outcome"]) == ("ada", "done")
    assert discarded["details"] == {"caller": getpass.getuser(), "discarded": 1}
    assert (discarded["via"], discarded["reason"]) == ("command", "a test\x1b[31m")
    assert (refused["outcome"], refused["error"]) == ("refused", "expected 5, but it is 1 by now: look again")
    assert str(refused["command"]).endswith("--as ada --expect 5")
    table = run_pagefold("audit", "--by", "ada", "--action", "dead-letters").out
    assert "\x1b" not in table
    assert [line.split()[2:5] for line in table.splitlines()[1:]] == [["ada", "dead-letters", "discard"]] * 2
    assert "done (discarded 1)" in table
    assert "refused: expected 5, but it is 1 by now: look again" in table
    assert len(run_pagefold("audit", "--limit", "1", "--json").documents) == 1
    assert run_pagefold("audit", "--target", "ingest-1").err == "nothing was done yet\n"
    assert run_pagefold("audit", "--limit", "0").code == 2
