"""The files of deploy/, read, and the programs that check them."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.documents import ROOT

DEPLOY = ROOT / "deploy"
PLACES = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"])
"""Where programs are looked for: scripts/install-linters puts them beside Python."""


def program(name: str) -> str | None:
    """The path of a program; None if it is not installed."""
    return shutil.which(name, path=PLACES)


def needs(*names: str) -> pytest.MarkDecorator:
    """Skips a test where one of these programs is not installed."""
    missing = [name for name in names if program(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{missing} not installed: scripts/install-linters")


def document(path: Path) -> Any:  # noqa: ANN401  # tests look into it as they like
    """The only document of a YAML file."""
    [found] = documents(path)
    return found


def documents(path: Path) -> list[Any]:
    """The documents of a YAML file."""
    return list(yaml.safe_load_all(path.read_text("utf-8")))


def objects_with(key: str, value: object) -> Iterator[dict[str, Any]]:
    """Every object with a key, at any depth."""
    if isinstance(value, dict):
        if key in value:
            yield value
        for each in value.values():
            yield from objects_with(key, each)
    elif isinstance(value, list):
        for each in value:
            yield from objects_with(key, each)
