"""What `pip install pagefold` and each extra bring, with sizes, as docs/embedding.md has it.

`python -m tests.docs.sizes` measures it in the environment that runs it, which has all of it.
"""

import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.documents import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = (
    "rebuild", "eventsourcing", "server", "cli", "contracts", "mysql", "signatures", "nats", "redis", "kafka", "all",
)  # fmt: skip


def requirements_of(name: str, extras: frozenset[str]) -> list[Requirement]:
    """What a distribution asks for here, with these extras."""
    if name == "pagefold":
        own = [*PROJECT["dependencies"]]
        for extra in extras:
            own += PROJECT["optional-dependencies"][extra]
        found = map(Requirement, own)
    else:
        found = map(Requirement, distribution(name).requires or ())
    environments = [{"extra": extra} for extra in extras or {""}]
    return [each for each in found if each.marker is None or any(map(each.marker.evaluate, environments))]


def brought(extra: str = "") -> set[str]:
    """Every distribution that `pagefold`, or `pagefold[extra]`, installs beside itself."""
    return needed_by("pagefold", extra)


def needed_by(distribution_name: str, extra: str = "") -> set[str]:
    """Every distribution that this one, with this extra, installs beside itself."""
    waiting = [(distribution_name, frozenset({extra} if extra else ()))]
    seen = set[tuple[str, frozenset[str]]]()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        waiting += [(canonicalize_name(each.name), frozenset(each.extras)) for each in requirements_of(name, extras)]
    return {name for name, _ in seen} - {distribution_name}


def megabytes(names: set[str]) -> float:
    """The size of the files of distributions, without what Python compiles when it runs."""
    files = (file for name in names for file in distribution(name).files or () if file.suffix != ".pyc")
    return sum(path.stat().st_size for file in files if (path := Path(str(file.locate()))).exists()) / 1e6


def rows() -> Iterator[tuple[str, int, float, str]]:
    """What to install, how many packages and megabytes that is, and those that it adds to the least."""
    base = brought()
    yield "pagefold", len(base), megabytes(base), ", ".join(sorted(base))
    for extra in EXTRAS:
        names = brought(extra)
        yield f"pagefold[{extra}]", len(names), megabytes(names), "adds " + ", ".join(sorted(names - base))


def table() -> str:
    """The table of the page."""
    lines = ["| `pip install` | packages | MB | which |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {number} | {size:.0f} | {which} |" for name, number, size, which in rows()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())  # noqa: T201  # it is what the program is for
