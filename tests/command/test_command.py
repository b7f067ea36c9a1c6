"""The command line: what each command prints, where, and with what exit code."""

import contextlib
import os
import pty
import subprocess
import tomllib
from pathlib import Path

import orjson
import pytest

from pagefold.engine.command.init import sample
from pagefold.engine.configuration.config import Config
from tests.support.command_line import (
    PROGRAM,
    Ran,
    event,
    finished,
    lines_file,
    on_sqlite,
    product,
    run_pagefold,
    settle,
    start_python,
)


@pytest.fixture
def workplace(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a configuration and an empty store, of each kind."""
    return settle(tmp_path, store_url, monkeypatch)


def ingest(folder: Path, *events: object) -> Ran:
    """Ingests events from a file."""
    return run_pagefold("ingest", lines_file(folder / "events.ndjson", *events), "--json")


# --- help, version, usage -------------------------------------------------------------------------

COMMANDS = (
    ("init",),
    ("ingest",),
    ("work",),
    ("get",),
    ("history",),
    ("status",),
    ("dead-letters", "list"),
    ("dead-letters", "show"),
    ("dead-letters", "retry"),
    ("dead-letters", "correct"),
    ("dead-letters", "discard"),
    ("pages", "list"),
    ("pages", "export"),
    ("check",),
    ("schema", "config"),
    ("completion",),
    ("epochs", "list"),
    ("epochs", "raise"),
    ("epochs", "dismiss"),
    ("tokens", "create"),
    ("tokens", "list"),
    ("tokens", "revoke"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_explains_every_argument(command: tuple[str, ...]) -> None:
    """Each argument and option has a sentence, and the options of every command are among them."""
    ran = run_pagefold(*command, "--help")
    assert ran.code == 0
    for option in ("--config", "--store", "--log-level"):
        assert option in ran.out
    entries = [line.strip("│ ") for line in ran.out.splitlines() if line.startswith("│ ") and line[2] != " "]
    bare = [entry for entry in entries if len(entry.split("  ", 1)) == 1 and not entry.endswith((".", "]"))]
    assert not bare


def test_help_shows_every_command_with_examples() -> None:
    """The main help lists every command, exit codes and examples, without importing the demo."""
    ran = run_pagefold("--help")
    names = ("demo", "init", "ingest", "work", "get", "history", "rebuild", "verify", "dead-letters", "status")
    for name in (*names, "rebuilds", "epochs", "tokens"):
        assert f"│ {name} " in ran.out
        assert name in ran.out.partition("Examples")[2] or name == "dead-letters"
    assert "Exit codes" in ran.out.replace("\n", " ")
    assert run_pagefold() == ran


@pytest.mark.parametrize("command", [(), ("epochs",), ("releases",), ("tokens",)], ids=" ".join)
def test_examples_fit_in_80_columns(command: tuple[str, ...]) -> None:
    """Each line of them is a command, or continues one: no line was broken."""
    examples = run_pagefold(*command, "--help").out.partition("Examples")[2]
    lines = [line for line in examples.splitlines() if line.strip()]
    assert lines
    assert [line for line in lines if not line.startswith((" pagefold ", " erp-export ", "     "))] == []


def test_version() -> None:
    """`--version` prints one line."""
    assert run_pagefold("--version").out.startswith("pagefold")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("gett",), 'Did you mean "get"?'),
        (("get", "A"), "CHANNEL requires"),
        (("get", "A", "web-de", "--bogus"), "--bogus"),
        (("work", "--domain", "prices"), '"catalog", "pricing", "inventory", "media"'),
        (("history", "A", "--domain", "prices"), '"pricing"'),
        (("status", "--log-level", "loud"), '"debug", "info", "warning", "error"'),
        (("--store", "mysql://u:secret@h/d", "status"), "store.url: 'mysql://u:***@h/d'"),
        (("status", "--config", "none.toml"), "`pagefold init` writes one"),
        (("get", "A", "xyz"), "CHANNEL: unknown channel 'xyz'; the channels are web-de, web-at, market-us"),
        (("get", "A", "web-dee"), "did you mean 'web-de'? The channels are web-de, web-at, market-us"),
        (("history", "A", "--channel", "web-dee"), "--channel: unknown channel 'web-dee'; did you mean 'web-de'?"),
        (("history", "A", "--source", "er"), "--source: unknown source 'er'; did you mean 'erp'? The sources are"),
        (("history", "A", "--limit", "0"), "--limit"),
        (("pages", "list", "web-dee"), "CHANNEL: unknown channel 'web-dee'; did you mean 'web-de'?"),
        (("pages", "export", "web-de", "--since", "soon"), "--since: 'soon' is neither a time such as 2026-01-31T"),
        (("ingest",), "FILE"),
        (("ingest", "pagefold.toml", "--rejects", "pagefold.toml"), "--rejects"),
        (("ingest", "pagefold.toml", "--rejects", "no/such/folder"), "--rejects"),
        (("dead-letters", "list", "--limit", "0"), "--limit"),
        (("dead-letters", "list", "--kind", "lost"), '"ingest", "projection"'),
        (("dead-letters", "retry"), "--all"),
        (("dead-letters", "retry", "ingest-1", "--all"), "--all"),
        (("tokens", "create"), "--scope"),
        (("tokens", "create", "--scope", "all"), '"read", "ingest", "operate"'),
        (("tokens", "create", "--scope", "ingest"), "source: the scope ingest needs a source; the sources are pim"),
        (
            ("tokens", "create", "--scope", "ingest", "--source", "mars"),
            "source: unknown source 'mars'; the sources are pim",
        ),
        (("tokens", "create", "--scope", "read", "--source", "erp"), "source: only a token with the scope ingest"),
        (("tokens", "create", "--scope", "read", "--expires", "soon"), "--expires: 'soon' is not a length of time"),
        (("tokens", "create", "--scope", "read", "--expires", "90"), "such as 90d for 90 days"),
        (("tokens", "create", "--scope", "read", "--expires", "0d"), "expires: must be in the future"),
        (("tokens", "revoke"), "NAME"),
        (("dead-letters", "retry", "ingest-1", "--kind", "ingest"), "--all"),
        (("dead-letters", "retry", "--source", "erp", "--all"), "--all"),
        (("dead-letters", "correct", "ingest-1"), "--payload"),
        (("dead-letters", "correct", "ingest-1", "--payload", "no/such/file"), "--payload: no/such/file: No such file"),
        (("dead-letters", "discard", "ingest-1"), "--reason"),
        (("dead-letters", "discard", "--reason", "none"), "--all"),
        (("dead-letters", "discard", "ingest-1", "--reason", "none", "--source", "erp"), "--all"),
        (("epochs", "raise", "erp"), "--reason"),
        (("epochs", "raise", "--reason", "so"), "SCOPE"),
        (("epochs", "dismiss", "erp"), "--reason"),
        (("epochs", "dismiss", "erp", "--reason", "so", "--domain", "prices"), '"pricing"'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
@on_sqlite
def test_bad_usage_is_2(arguments: tuple[str, ...], words: str, workplace: Path) -> None:
    """Bad usage and bad configuration end with 2, and one line that says what is allowed."""
    code, out, err = run_pagefold(*arguments)
    assert code == 2
    assert words in err
    assert len(err.splitlines()) == 1
    assert out == ""


@on_sqlite
def test_a_bad_level_in_the_environment_is_2(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's log level is checked like the option; empty is absent."""
    monkeypatch.setenv("PAGEFOLD_LOG_LEVEL", "loud")
    ran = run_pagefold("status")
    assert (ran.code, ran.err) == (
        2,
        "pagefold: PAGEFOLD_LOG_LEVEL: unknown level 'loud'; the levels are debug, info, warning, error\n",
    )
    monkeypatch.setenv("PAGEFOLD_LOG_LEVEL", "")
    assert run_pagefold("status").code == 0


READERS = (
    ("get", "A", "web-de"),
    ("history", "A"),
    ("pages", "list", "web-de"),
    ("pages", "export", "web-de"),
    ("status",),
    ("work", "--once"),
    ("dead-letters", "list"),
    ("dead-letters", "show", "ingest-1"),
    ("dead-letters", "retry", "--all"),
    ("epochs", "list"),
    ("epochs", "raise", "erp", "--reason", "so"),
    ("tokens", "create", "--scope", "read"),
    ("tokens", "list"),
    ("tokens", "revoke", "tok_1"),
)


@pytest.mark.parametrize("arguments", READERS, ids=" ".join)
@on_sqlite
def test_no_store_is_3(arguments: tuple[str, ...], workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that need a store do not create one, and say how to."""
    monkeypatch.setenv("PAGEFOLD_STORE", "sqlite:///nowhere")
    code, _, err = run_pagefold(*arguments)
    assert code == 3
    assert "`pagefold init`" in err
    assert not (workplace / "nowhere").exists()


@on_sqlite
def test_an_unreachable_store_is_3(workplace: Path) -> None:
    """A store that does not answer ends with 3, and its password is not shown."""
    code, _, err = run_pagefold("--store", f"postgresql://shop:secret@localhost/shop?host={workplace}", "status")
    assert code == 3
    assert "unavailable" in err
    assert "secret" not in err


@on_sqlite
def test_tracebacks_only_for_debugging(workplace: Path) -> None:
    """An error is one line; with `--log-level debug`, its traceback comes before."""
    arguments = ("--config", "none.toml", "status")
    assert "Traceback" not in run_pagefold(*arguments).err
    ran = run_pagefold(*arguments, "--log-level", "debug")
    assert "Traceback" in ran.err
    assert ran.err.endswith(run_pagefold(*arguments).err)


@on_sqlite
def test_options_stand_before_or_behind_the_command(workplace: Path) -> None:
    """`--store` and `--config` mean the same before and after the command, and override the environment."""
    (workplace / "pagefold.toml").rename(workplace / "other.toml")
    assert run_pagefold("--config", "other.toml", "--store", "sqlite:///here", "init").code == 0
    before = run_pagefold("--config", "other.toml", "--store", "sqlite:///here", "status", "--json")
    behind = run_pagefold("status", "--json", "--store", "sqlite:///here", "--config", "other.toml")
    assert before.document == behind.document
    assert before.document["store"] == f"sqlite:///{workplace}/here"


# --- init -----------------------------------------------------------------------------------------


def test_init_writes_a_configuration_and_makes_the_store(workplace: Path) -> None:
    """The file that `init` writes is a valid configuration, and the store exists."""
    assert {"web-de", "web-at"} <= Config.load().channels.keys()
    assert run_pagefold("status", "--json").code == 0


@on_sqlite
def test_init_keeps_what_is_there(workplace: Path) -> None:
    """An existing configuration is kept, unless `--force` is given."""
    file = workplace / "pagefold.toml"
    mine = file.read_text().replace("web-de", "web-mine")
    file.write_text(mine)
    ran = run_pagefold("init")
    assert ran.code == 0
    assert "stays" in ran.err
    assert file.read_text() == mine
    assert run_pagefold("init", "--force").code == 0
    assert file.read_text() == sample()


@on_sqlite
def test_init_writes_the_store_it_was_given(workplace: Path) -> None:
    """The URL of `--store` is written into the new file, except with a password."""
    url = 'sqlite:///va"r/shop'
    assert run_pagefold("init", "--config", "new.toml", "--store", url).code == 0
    assert tomllib.loads((workplace / "new.toml").read_text())["store"]["url"] == url
    assert sample("postgresql://shop:secret@localhost/shop") == sample()
    assert run_pagefold("init", "--config", "no/such/folder.toml").code == 2
    assert run_pagefold("init", "--config", "newer.toml", "--store", "mysql:").code == 2
    assert not (workplace / "newer.toml").exists()


# --- get, history ---------------------------------------------------------------------------------


def test_get_prints_the_bytes_of_the_page(workplace: Path) -> None:
    """Standard output is the page and a newline; `--pretty` prints the same document, indented."""
    ingest(workplace, product("Käse/1"), event("Käse/1"))
    assert run_pagefold("get", "Käse/1", "web-de") == (
        1,
        "",
        "Käse/1 has no page in web-de; the log has events for it: `pagefold work --once` folds them\n",
    )
    assert run_pagefold("work", "--once").code == 0
    ran = run_pagefold("get", "Käse/1", "web-de")
    assert (ran.code, ran.err) == (0, "")
    assert ran.document["pricing"] == {"amount": "1.00", "currency": "EUR"}
    assert orjson.dumps(ran.document).decode() + "\n" == ran.out
    pretty = run_pagefold("get", "Käse/1", "web-de", "--pretty")
    assert orjson.loads(pretty.out) == ran.document
    assert len(pretty.out.splitlines()) > 10


@on_sqlite
def test_get_says_why_there_is_no_page(workplace: Path) -> None:
    """Messages differ for a disabled page, an unknown SKU and an invalid SKU."""
    ingest(workplace, product(enabled=False))
    run_pagefold("work", "--once")
    ran = run_pagefold("get", "A", "web-de")
    assert (ran.code, ran.out) == (1, "")
    assert "--disabled" in ran.err
    assert run_pagefold("get", "A", "web-de", "--disabled").document["status"] == "disabled"
    assert "no source has sent events for" in run_pagefold("get", "B", "web-de").err
    assert "must not be empty" in run_pagefold("get", "", "web-de").err
    assert run_pagefold("get", "--", "-x", "web-de").code == 1


def test_history_tells_what_changed(workplace: Path) -> None:
    """Each version with its changes, the head and withdrawals marked, as text and as NDJSON."""
    ingest(workplace, product(), event(), event(version=2, amount="2.00"), event(version=3, payload=None))
    ran = run_pagefold("history", "A", "--domain", "pricing", "--json")
    assert ran.code == 0
    third, second, first = ran.documents
    assert first["changes"][0] == {"path": "amount", "before": None, "after": "1.00"}
    assert second["changes"] == [{"path": "amount", "before": "1.00", "after": "2.00"}]
    assert (second["head"], third["head"], third["withdrawn"]) == (False, True, True)
    text = run_pagefold("history", "A", "--channel", "*").out
    assert '~ amount: "1.00" → "2.00"' in text
    assert "head  withdrawn" in text
    assert "from pim" in text
    assert run_pagefold("history", "A", "--oldest", "--domain", "pricing", "--json").documents == [first, second, third]
    assert run_pagefold("history", "A", "--channel", "web-de").code == 1
    assert run_pagefold("history", "B").code == 1


def test_history_shows_the_newest_events_first(workplace: Path) -> None:
    """They are ordered by position, over all streams; a limit says that there are more, and a source is a filter."""
    late = event(version=1, amount="0.50")
    ingest(workplace, event(version=2), product(), late, event("B"), event(version=3, channel="web-de"))
    ran = run_pagefold("history", "A", "--json")
    assert [(each["source"], each["version"]) for each in ran.documents] == [
        ("erp", 3),
        ("erp", 1),
        ("pim", 1),
        ("erp", 2),
    ]
    ran = run_pagefold("history", "A", "--limit", "2", "--source", "erp", "--json")
    assert [each["version"] for each in ran.documents] == [3, 1]
    assert ran.err == "… and older events; --limit shows more\n"
    ran = run_pagefold("history", "A", "--oldest", "--limit", "1", "--source", "erp", "--json")
    assert ([each["version"] for each in ran.documents], ran.err) == ([1], "… and newer events; --limit shows more\n")
    assert run_pagefold("history", "A", "--source", "dam") == (1, "", "dam has sent no events for A\n")
    assert run_pagefold("history", "A", "--limit", "4").err == ""


@on_sqlite
def test_history_names_the_whole_payload(workplace: Path) -> None:
    """A change of a payload without fields is shown as one of the payload itself."""
    ingest(workplace, event(type="catalog", source="pim", payload={}))
    assert "    + payload: {}\n" in run_pagefold("history", "A").out
    assert run_pagefold("history", "A", "--json").document["changes"][0]["path"] == ""


@on_sqlite
def test_what_comes_from_outside_is_no_markup(workplace: Path) -> None:
    """Square brackets and control characters in data and arguments are shown, and do not control the terminal."""
    ingest(workplace, event("[red]A[/red]", payload={"currency": "EUR", "amount": "1.00", "taxClass": "[b]\u009b31m"}))
    out = run_pagefold("history", "[red]A[/red]").out
    assert '"[b]\\x9b31m"' in out
    assert "[/red]" in run_pagefold("get", "[red]A[/red]", "web-de").err
    assert "\x1b" not in run_pagefold("get", "A\x1b[31m", "web-de").err


# --- status ---------------------------------------------------------------------------------------


def test_status_tells_the_lag(workplace: Path) -> None:
    """Unfolded events are counted and timed; after the fold there are none, and channels have sections."""
    ingest(workplace, product(), event(), event("B"))
    waiting = {each["domain"]: each for each in run_pagefold("status", "--json").document["domains"]}
    assert [waiting[name]["lagEvents"] for name in ("catalog", "pricing", "media")] == [1, 2, 0]
    assert waiting["pricing"]["lagSeconds"] > 0
    assert run_pagefold("work", "--once").code == 0
    status = run_pagefold("status", "--json").document
    done = {each["domain"]: each for each in status["domains"]}
    assert (done["pricing"]["lagEvents"], done["pricing"]["lagSeconds"], done["pricing"]["applied"]) == (0, 0, 2)
    [channel] = [each for each in status["channels"] if each["channel"] == "web-de"]
    assert (channel["sections"]["pricing"], channel["ready"]["catalog"]) == (2, 1)
    text = run_pagefold("status").out
    assert "2/2" in text
    assert all(not line.endswith(" ") for line in text.splitlines())


@on_sqlite
def test_status_says_that_the_configuration_changed(workplace: Path) -> None:
    """It says that the file is not applied; once it is, it names the domains whose pages are folded again."""
    ingest(workplace, event())
    run_pagefold("work", "--once")
    file = workplace / "pagefold.toml"
    file.write_text(file.read_text().replace('locale = "de-AT"', 'locale = "fr-CH"'))
    ran = run_pagefold("status")
    assert (ran.code, "pages are folded under configuration 0" in ran.err) == (1, True)
    assert run_pagefold("status", "--json").document["configuration"]["held"]
    run_pagefold("apply", "--reason", "a test", "--as", "ada")
    ran = run_pagefold("status")
    assert "configuration changed" in ran.err
    assert any(each["configurationChanged"] for each in run_pagefold("status", "--json").document["domains"])


# --- as a process ---------------------------------------------------------------------------------


@on_sqlite
def test_a_closed_pipe_is_quiet(workplace: Path) -> None:
    """`pagefold history X | head` prints nothing on standard error, whatever is left to write."""
    ingest(workplace, *(event(version=version, amount=f"{version}.00") for version in range(2_000)))
    for extra in ((), ("--json",)):
        process = start_python("history", "A", "--limit", "2000", *extra)
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        process.stderr.close()
        assert process.wait(60) == 141


@on_sqlite
def test_a_terminal_gets_bars(workplace: Path) -> None:
    """On a terminal, progress is a bar and logs are text; standard output has only the result."""
    file = lines_file(workplace / "events.ndjson", event(), b"nonsense")
    terminal, other_end = pty.openpty()
    for arguments in (("ingest", file, "--json"), ("work", "--once", "--json")):
        ran = subprocess.run([*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=other_end, check=False)
        assert orjson.loads(ran.stdout)["complete"]
    os.close(other_end)
    shown = b""
    with contextlib.suppress(OSError):  # Linux's answer at the end of a terminal
        while piece := os.read(terminal, 100_000):
            shown += piece
    os.close(terminal)
    text = shown.decode()
    assert f"{file}:2: JSON is malformed" in text.replace("\r\n", "")
    assert "━━━" in text
    assert "pricing" in text
    assert '"event":' not in text


@on_sqlite
def test_a_narrow_encoding_is_no_error(workplace: Path) -> None:
    """A character that standard output cannot encode is escaped."""
    ingest(workplace, event(), event(version=2, amount="2.00"))
    ran = finished(start_python("history", "A", environment={"PYTHONIOENCODING": "ascii"}))
    assert ran.code == 0
    assert '"1.00" \\u2192 "2.00"' in ran.out


@on_sqlite
def test_the_program_starts_by_its_module(workplace: Path) -> None:
    """`python -m pagefold.engine.command` runs the command, and exits with its code."""
    assert finished(start_python("get", "A", "web-de")).code == 1
    assert finished(start_python("nonsense", stdin=subprocess.DEVNULL)).code == 2
