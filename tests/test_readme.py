"""What the README shows is run, and what it says comes out comes out."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pagefold import Config
from pagefold.engine.command.init import sample
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.formats.debezium import DebeziumReader
from pagefold.engine.intake.formats.partial_event import PartialEvent
from pagefold.engine.intake.formats.webhook_bodies import WebhookReader
from tests.support.deliveries import found_in

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECONDS = 60


def blocks(section: str, *languages: str) -> Iterator[tuple[str, str]]:
    """The code blocks of a section, as (language, text), in order."""
    text = README.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if language in languages:
            yield language, block


def commands(block: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that it is said to print."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *lines = part.rstrip("\n").split("\n")
        yield command, lines


def matches(expected: list[str], printed: list[str]) -> bool:
    """Whether the lines are the same; `…` stands for anything, and alone on a line for any lines."""
    pattern = "\n".join(expected)
    regex = ".*".join(map(re.escape, pattern.split("…")))
    flags = re.DOTALL if "…" in expected else 0
    return re.fullmatch(regex, "\n".join(printed), flags) is not None


def run(command: str, folder: Path) -> list[str]:
    """What a shell command prints, standard output first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(folder), "COLUMNS": "200"}
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return (done.stdout + done.stderr).rstrip("\n").split("\n")


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the whole tour was run, each command checked on the way."""
    folder = tmp_path_factory.mktemp("tour")
    ran = 0
    for language, block in blocks("A tour in five minutes", "sh", "console"):
        if language == "sh":
            assert run(block, folder) == [""]
            continue
        for command, expected in commands(block):
            printed = run(command, folder)
            assert matches(expected, printed), "\n".join([f"$ {command}", *printed])
            ran += 1
    assert ran > 5
    return folder


@pytest.fixture
def folder(toured: Path, tmp_path: Path) -> Path:
    """The folder of the tour, for one test alone: what a section does has no effect on the next."""
    return shutil.copytree(toured, tmp_path / "tour")


def test_the_tour(toured: Path) -> None:
    """Every command of the tour prints what the README shows."""
    assert (toured / "pagefold.toml").exists()


def test_tokens(folder: Path) -> None:
    """Tokens are made, listed and revoked as the README shows, in the shop of the tour."""
    [(_, block)] = blocks("Tokens", "console")
    for command, expected in commands(block):
        printed = run(command, folder)
        assert matches(expected, printed), "\n".join([f"$ {command}", *printed])


def test_the_epochs(folder: Path) -> None:
    """Epochs are raised and listed as the README shows, in the shop of the tour."""
    [(_, block)] = blocks("Counters that begin anew", "console")
    for command, expected in commands(block):
        printed = run(command, folder)
        assert matches(expected, printed), "\n".join([f"$ {command}", *printed])


def test_the_backups(folder: Path) -> None:
    """A backup is made and put back as the README shows, in the shop of the tour."""
    [(_, block)] = blocks("Backups, and a log that was put back", "console")
    for command, expected in commands(block):
        printed = run(command, folder)
        assert matches(expected, printed), "\n".join([f"$ {command}", *printed])


def run_the_program(folder: Path) -> list[str]:
    """What the program in the README prints, as it stands."""
    [(_, program)] = blocks("In a program", "python")
    (folder / "program.py").write_text(program, encoding="utf-8")
    return run(f"{sys.executable} program.py", folder)


def test_the_program(folder: Path) -> None:
    """The program in the README runs in the shop of the tour."""
    printed = run_the_program(folder)
    assert printed[0].startswith("appended ")
    assert "'available': 10" in printed[1]


@contextmanager
def serving(folder: Path, **environment: str) -> Iterator[int]:
    """The port where `pagefold serve --work` answers for the shop in a folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        [sys.executable, "-m", "pagefold.engine.command", "serve", "--work", "--port", "0", "--log-level", "error"],
        cwd=folder,
        env={"PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        try:
            yield int(process.stderr.readline().rpartition(":")[2])
        finally:
            process.terminate()


def check_requests(folder: Path, port: int, section: str) -> None:
    """Every command of a section's console blocks prints what the README shows, with the server at this port."""
    for _, block in blocks(section, "console"):
        for command, expected in commands(block.replace("127.0.0.1:8080", f"127.0.0.1:{port}")):
            printed = run(command, folder)
            assert matches(expected, printed), "\n".join([f"$ {command}", *printed])


def needs(*programs: str) -> pytest.MarkDecorator:
    """For a test of what these programs send."""
    missing = [each for each in programs if shutil.which(each) is None]
    return pytest.mark.skipif(bool(missing), reason=f"there is no {', '.join(missing)}")


@needs("curl")
def test_the_requests(folder: Path) -> None:
    """Every request of the README is answered as it shows, by the server that it starts."""
    [(_, start)] = blocks("HTTP", "sh")
    assert start.startswith("pagefold serve --work ")
    with serving(folder) as port:
        check_requests(folder, port, "HTTP")


@needs("curl")
def test_the_ingest(folder: Path) -> None:
    """Everything that the README posts is answered as it shows."""
    with serving(folder) as port:
        check_requests(folder, port, "Ingest")


@needs("curl", "openssl")
def test_the_deliveries(folder: Path) -> None:
    """A webhook that is signed and a change of a table are taken, with the tables of the README in the tour's file."""
    section = "Sources that send in their own form"
    tables = [block for _, block in blocks(section, "toml")]
    assert len(tables) == 2
    with (folder / "pagefold.toml").open("a", encoding="utf-8") as file:
        file.writelines(tables)
    [(_, start)] = blocks(section, "sh")
    variable, equals, secret = start.split()[0].partition("=")
    assert equals
    assert start.split()[1:4] == ["pagefold", "serve", "--work"]
    with serving(folder, **{variable: secret}) as port:
        check_requests(folder, port, section)


def test_the_dead_letters(folder: Path) -> None:
    """Every command about dead letters prints what the README shows, in the shop of the tour after the program."""
    run_the_program(folder)
    for _, block in blocks("Dead letters", "console"):
        for command, expected in commands(block):
            printed = run(command, folder)
            assert matches(expected, printed), "\n".join([f"$ {command}", *printed])


def test_the_sources_that_send_in_their_own_form() -> None:
    """With the tables of the README in the sample, such deliveries and changes are events that the door admits."""
    tables = [block for _, block in blocks("Sources that send in their own form", "toml")]
    config = Config.parse("\n".join([sample(), *tables]))
    at = "2026-01-01T00:00:00-05:00"
    delivery = {"id": 1, "updated_at": at, "variants": [{"sku": "A", "price": "9.90"}, {"sku": "B", "price": "19.90"}]}
    prices = found_in(WebhookReader(config, "erp"), json.dumps(delivery).encode())
    source = {"schema": "public", "table": "stock", "lsn": 5, "ts_ms": 1767225600000}
    message = {"op": "c", "before": None, "after": {"item_no": "A", "on_hand": 3, "reserve": None}, "source": source}
    stock = found_in(DebeziumReader(config, "wms-berlin"), json.dumps(message).encode())
    events = [each.event for each in (*prices, *stock) if isinstance(each, PartialEvent)]
    assert [EventValidator(config).examine(event).content for event in events] == [
        b'{"amount":"9.90","currency":"EUR"}',
        b'{"amount":"19.90","currency":"EUR"}',
        b'{"available":3}',
    ]


def test_the_scripts_that_are_named_exist() -> None:
    """Every script that the README names is there and can be run."""
    names = set(re.findall(r"scripts/([\w-]+)", README))
    assert {"demo", "test", "check", "soak", "install"} <= names
    for name in names:
        assert os.access(ROOT / "scripts" / name, os.X_OK)
