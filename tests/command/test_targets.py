"""`pagefold targets` and `pagefold receipts`."""

from pathlib import Path

import pytest

from tests.support.command_line import run_pagefold, settle

TARGETS = """
[targets.export.files]
folder = "out"
"""


@pytest.fixture
def place(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shop with one target, to which nothing was delivered yet."""
    folder = settle(tmp_path, store_url, monkeypatch)
    file = folder / "pagefold.toml"
    file.write_text(file.read_text("utf-8") + TARGETS, "utf-8")
    return folder


def test_an_operator_pauses_and_resumes(place: Path) -> None:
    """Each leaves an entry; what cannot be done ends with 1, what is asked wrongly with 2, and says why."""
    [listed] = run_pagefold("targets", "list", "--json").documents
    assert (listed["name"], listed["kind"], listed["state"]) == ("export", "files", "starting")
    assert run_pagefold("targets", "pause", "export", "--reason", "a test", "--as", "ada").code == 0
    shown = run_pagefold("targets", "show", "export", "--json").document
    assert (shown["state"], shown["by"], shown["reason"]) == ("paused", "ada", "a test")
    assert run_pagefold("targets", "resume", "export", "--reason", "over").code == 0
    again = run_pagefold("targets", "resume", "export", "--reason", "over")
    assert (again.code, "neither paused, disabled nor down" in again.err) == (1, True)
    unknown = run_pagefold("targets", "pause", "exprot", "--reason", "a slip")
    assert (unknown.code, "there are export" in unknown.err) == (1, True)
    assert run_pagefold("targets", "deliver", "export", "--reason", "none of them").code == 2
    assert run_pagefold("targets", "deliver", "export", "--since", "noon", "--reason", "x").code == 2
    assert [each["action"] for each in run_pagefold("audit", "--json", "--target", "export").documents][
        -1
    ] == "targets pause"
    assert place.is_dir()


def test_what_was_never_delivered(place: Path) -> None:
    """There is no receipt, and a verification says that everything is missing."""
    assert run_pagefold("receipts", "TSHIRT-M").code == 1
    verified = run_pagefold("targets", "verify", "export")
    assert verified.out.startswith("receipts: 0 of 0 pages current")
    assert place.is_dir()
