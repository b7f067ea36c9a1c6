"""Examples that are not run are at least read: configurations load, events are valid, and commands parse."""

import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from pagefold import Config, parse_event
from pagefold.engine.command.app import app
from pagefold.engine.command.arguments import parse_command
from pagefold.engine.command.init import sample
from pagefold.engine.command.options import LOG_LEVEL_VARIABLE
from pagefold.engine.configuration.config import CONFIG_VARIABLE, STORE_VARIABLE
from pagefold.engine.intake.event_validator import EventValidator
from tests.docs.generated import TRANSFORMS
from tests.support.documents import PAGES, README, blocks

EVERY_PAGE = [README, *PAGES]
RUN = {"console", "sh", "shell", "python", "nginx"}
"""The languages of blocks that other tests run."""
READ = {"toml", "json", "crontab", "yaml"}
"""The languages of blocks that the tests below read."""
SHOWN = {"mermaid", "text"}
"""The languages of blocks that only people read: diagrams, and commands for machines that tests do not have."""
VARIABLES = {CONFIG_VARIABLE, STORE_VARIABLE, LOG_LEVEL_VARIABLE}

_crontab_line = re.compile(r"((?:[\d*/,-]+ +){5})((?:\w+=\S+ +)*)(.+)")


def examples(language: str, *, leave_out: Path | None = None) -> list[Any]:
    """Every block in a language, as test parameters."""
    pages = [page for page in EVERY_PAGE if page != leave_out]
    found = [(page, block) for page in pages for _, block in blocks(page.read_text("utf-8"), language)]
    assert found, f"no page has a block in {language}"
    return [pytest.param(block, id=f"{page.name}-{number}") for number, (page, block) in enumerate(found)]


def merged(table: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """A document with another one on top of it, table by table."""
    both = {name: merged(table[name], other[name]) for name in table.keys() & other if isinstance(table[name], Mapping)}
    return {**table, **other, **both}


def check_command(words: Sequence[str], variables: Mapping[str, object]) -> None:
    """Fails unless the words are a `pagefold` command that parses, and its variables are ones that it reads."""
    program, *arguments = words
    assert Path(program).name == "pagefold"
    _, bound, _ = app.meta.parse_args(arguments, exit_on_error=False, print_error=False)
    parse_command(app, bound.args)
    assert {name for name in variables if name.startswith("PAGEFOLD_")} <= VARIABLES


def containers(document: object) -> Iterator[Mapping[str, Any]]:
    """Every object with a command, at any depth."""
    if isinstance(document, Mapping):
        if "command" in document:
            yield document
        for value in document.values():
            yield from containers(value)
    elif isinstance(document, list):
        for value in document:
            yield from containers(value)


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: page.name)
def test_every_block_is_run_or_read(page: Path) -> None:
    """A block in a language that no test knows would be unchecked."""
    assert {language for language, _ in blocks(page.read_text("utf-8"))} <= RUN | READ | SHOWN


@pytest.mark.parametrize("block", examples("toml", leave_out=TRANSFORMS))
def test_a_configuration_loads(block: str) -> None:
    """A block of TOML is a configuration, or a part of one that fits the sample."""
    document = tomllib.loads(block)
    Config.parse(document if "store" in document else merged(tomllib.loads(sample()), document))


@pytest.mark.parametrize("block", examples("json"))
def test_an_event_is_valid(block: str) -> None:
    """A block of JSON is an event that the sample's configuration accepts."""
    EventValidator(Config.parse(sample())).validate(parse_event(block.encode()))


@pytest.mark.parametrize("block", examples("crontab"))
def test_a_crontab_runs_a_command(block: str) -> None:
    """Each line has five fields of time, then variables, and a command up to its redirections."""
    for line in block.splitlines():
        found = _crontab_line.fullmatch(line)
        assert found is not None, line
        _, variables, command = found.groups()
        words = shlex.split(re.split(r"\s\d?>", command)[0])
        check_command(words, dict(each.split("=", 1) for each in variables.split()))


@pytest.mark.parametrize("block", examples("yaml"))
def test_a_manifest_runs_a_command(block: str) -> None:
    """Each container's command parses, and its environment names variables that Pagefold reads."""
    found = list(containers(yaml.safe_load(block)))
    assert found
    for container in found:
        check_command(container["command"], {each["name"]: each for each in container.get("env", ())})


def test_a_wrong_example_is_found() -> None:
    """An option, a variable or a key that does not exist fails."""
    with pytest.raises(Exception, match="unknown option"):
        check_command(["pagefold", "rebuild", "--jsn"], {})
    with pytest.raises(AssertionError):
        check_command(["pagefold", "rebuild"], {"PAGEFOLD_CONFG": ""})
    with pytest.raises(Exception, match="unknown key"):
        Config.parse(merged(tomllib.loads(sample()), {"work": {"batches": 1}}))
