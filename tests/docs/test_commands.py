"""Runs every command of the documentation, and compares what it prints."""

import re
import shutil
from pathlib import Path

import pytest

from tests.support.documents import PAGES, README, ROOT, Walkthrough, blocks, commands
from tests.support.forked_commands import plain_arguments

MAX_README_LINES = 260
ELSEWHERE = re.compile(
    r"(?:TMPDIR=\S+ )?(scripts/(?:demo|test|check|soak|install|planted-bugs|docs)|python -m benchmarks)\b"
)
"""The commands of `shell` blocks: those that tests run in another way, or that take minutes."""

EVERY_PAGE = [README, *PAGES]
RUNBOOKS = ROOT / "docs" / "runbooks.md"
"""Each of its sections begins with a trouble: tests/runbooks makes it."""
with_curl = pytest.mark.skipif(not all(map(shutil.which, ("curl", "openssl"))), reason="the pages use curl and openssl")
each_page = pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: page.name)


@with_curl
@pytest.mark.parametrize("page", [page for page in EVERY_PAGE if page != RUNBOOKS], ids=lambda page: page.name)
def test_a_page_can_be_followed_from_top_to_bottom(page: Path, tmp_path: Path) -> None:
    """In one empty folder, each command of a page prints what the page shows."""
    with Walkthrough(tmp_path) as reader:
        reader.follow(page)
    shown = page.read_text("utf-8")
    assert (reader.ran > 0) is any(blocks(shown, "console", "sh"))


def test_a_forked_command_is_what_a_shell_runs(tmp_path: Path) -> None:
    """It prints the same on both streams, ends with the same code, and leaves the same files in its folder."""
    words = ("init", "get A web-de", "get 'A B' --nothing", "check")
    folders = [tmp_path / name for name in ("fork", "exec")]
    for folder in folders:
        folder.mkdir()
    forked, ran = map(Walkthrough, folders)
    of_fork = [forked.type(f"pagefold {each}") for each in words]
    of_shell = [ran.type(f"exec pagefold {each}") for each in words]
    assert str(of_fork).replace(str(folders[0]), str(folders[1])) == str(of_shell)
    assert [code for code, _ in of_fork] == [0, 1, 2, 0]
    found = [{file.relative_to(folder) for file in folder.rglob("*")} for folder in folders]
    assert found[0] == found[1] != set()


@pytest.mark.parametrize("command", ["pagefold get A | cat", "pagefold get $A", "pagefold get A > b", "curl pagefold"])
def test_a_shell_runs_what_it_must_read(command: str) -> None:
    """Pipes, variables and redirections; and other programs."""
    assert plain_arguments(command) is None


def test_arguments_are_those_of_a_shell() -> None:
    """Quotes keep words together, and a backslash goes on in the next line."""
    assert plain_arguments("pagefold get 'A B' \\\n  web") == ["get", "A B", "web"]


def test_the_readme_is_short() -> None:
    """What does not fit into the README has a page of its own."""
    assert len(README.read_text("utf-8").splitlines()) <= MAX_README_LINES


@each_page
def test_what_is_not_run_is_run_elsewhere(page: Path) -> None:
    """A `shell` block has only scripts and benchmarks, which a test cannot run here."""
    for _, block in blocks(page.read_text("utf-8"), "shell"):
        for line in block.splitlines():
            assert ELSEWHERE.match(line), line


@each_page
def test_commands_need_no_new_curl_and_no_riddles(page: Path) -> None:
    """`curl --json` needs curl 7.82, which older systems do not have; `sed` expressions are hard to read."""
    for _, block in blocks(page.read_text("utf-8"), "console"):
        for command, _ in commands(block):
            assert not re.search(r"\bsed\b|curl.* --json", command), command


def test_the_scripts_that_are_named_exist() -> None:
    """Every script that a page names can be run."""
    for page in EVERY_PAGE:
        for name in re.findall(r"\bscripts/([\w-]+)", page.read_text("utf-8")):
            assert shutil.which(ROOT / "scripts" / name), f"{page.name} names scripts/{name}"
