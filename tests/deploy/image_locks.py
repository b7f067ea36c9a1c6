"""The locks of the image: what `pagefold[all]` needs, and what builds it, as `requirements.lock` pins it."""

import re
from collections.abc import Collection
from pathlib import Path

from tests.docs.sizes import needed_by
from tests.support.documents import ROOT

IMAGE = ROOT / "deploy" / "image"
_entry = re.compile(r"^([a-z0-9-]+)==\S+.*?(?=^[a-z0-9-]+==|\Z)", re.MULTILINE | re.DOTALL)


def locked(names: Collection[str]) -> str:
    """These packages of `requirements.lock`, without its comments. Raises `AssertionError` if it lacks one."""
    text = (ROOT / "requirements.lock").read_text("utf-8")
    without = re.sub(r"^ *#.*\n|^\n", "", text, flags=re.MULTILINE)
    found = {entry[1]: entry[0] for entry in _entry.finditer(without) if entry[1] in names}
    assert found.keys() == set(names), set(names) - found.keys()
    return "".join(found.values())


def locks() -> dict[Path, str]:
    """The files and their content."""
    return {
        IMAGE / "requirements.lock": locked(needed_by("pagefold", "all")),
        IMAGE / "build.lock": locked({"hatchling", *needed_by("hatchling")}),
    }
