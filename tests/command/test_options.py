"""Options that do not exist are errors that name the nearest one; the examples stand in the main help alone."""

from pathlib import Path

import pytest

from tests.support.command_line import on_sqlite, run_pagefold, settle


@pytest.fixture
def workplace(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a configuration and an empty store."""
    return settle(tmp_path, store_url, monkeypatch)


MISSPELT = [
    (("ingest", "--rejcts", "f"), "--rejcts: unknown option; did you mean --rejects?"),
    (("ingest", "a.ndjson", "--rejcts=f"), "--rejcts: unknown option; did you mean --rejects?"),
    (("ingest", "-", "--hepl"), "--hepl: unknown option; did you mean --help?"),
    (("get", "--all"), "--all: unknown option; did you mean --at?"),
    (("get", "-x", "web-de"), "-x: unknown option"),
    (("history", "--domin", "pricing"), "--domin: unknown option; did you mean --domain?"),
    (("status", "--stor", "x"), "--stor: unknown option; did you mean --store?"),
    (("--stor", "x", "status"), "--stor: unknown option; did you mean --store?"),
    (("rebuilds", "show", "--jsn"), "--jsn: unknown option; did you mean --json?"),
    (("rebuild", "--dryrun"), "--dryrun: unknown option; did you mean --dry-run?"),
    (("epochs", "raise", "--reson", "so"), "--reason"),
    (("epochs", "dismiss", "--jsn", "--reason", "so"), "--jsn: unknown option; did you mean --json?"),
    (("dead-letters", "retry", "--al"), "--al: unknown option; did you mean --all?"),
    (("serve", "--prot", "1"), "--prot: unknown option; did you mean --port?"),
    (("demo", "--sku", "100"), "--sku: unknown option; did you mean --skus?"),
    (("tokens", "revoke", "--jso"), "--jso: unknown option"),
]


@pytest.mark.parametrize(("arguments", "words"), MISSPELT, ids=lambda value: " ".join(value)[:30])
@on_sqlite
def test_a_misspelt_option_is_an_error_that_names_the_nearest(
    arguments: tuple[str, ...], words: str, workplace: Path
) -> None:
    """It is never taken for a file, an SKU or a run, in any place."""
    code, out, err = run_pagefold(*arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1


@on_sqlite
def test_two_hyphens_end_the_options(workplace: Path) -> None:
    """What follows `--` is a file or an SKU, whatever it begins with."""
    (workplace / "--rejcts").write_bytes(b"")
    assert run_pagefold("ingest", "--", "--rejcts").code == 0
    assert "--all has no page in web-de" in run_pagefold("get", "--", "--all", "web-de").err


@pytest.mark.parametrize("command", ["demo", "serve", "ingest", "status", "dead-letters"])
def test_the_examples_of_all_commands_are_in_the_main_help_alone(command: str) -> None:
    """The help of one command does not show examples of the others."""
    assert "pagefold rebuild --dry-run" not in run_pagefold(command, "--help").out
