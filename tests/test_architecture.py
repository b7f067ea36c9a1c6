"""The architecture: the public surface, imports between modules, and that a domain is one file and one line."""

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import pagefold

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("domains", "projections", "engine")

REVIEWS = '''\
"""Reviews: what customers think. The sum over all sources."""

from collections.abc import Sequence

import msgspec

from pagefold.domains.domain import ChannelContext, Contribution, Domain, SectionBody, encode
from pagefold.domains.values import NonNegative


class Reviews(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"
):
    """How many stars were given, and by how many."""

    stars: NonNegative
    voices: NonNegative = 1


def fold(
    contributions: Sequence[Contribution[Reviews]], _context: ChannelContext, _trace: object
) -> SectionBody | None:
    """All voices together."""
    stars = sum(each.payload.stars for each in contributions)
    voices = sum(each.payload.voices for each in contributions)
    return SectionBody(encode({"stars": stars, "voices": voices}), ready=stars > 0)


REVIEWS = Domain(name="reviews", payload=Reviews, fold=fold)
'''

PROGRAM = """
import asyncio, json, sys
from datetime import UTC, datetime
import pagefold
from pagefold import domains, engine, projections

EVERY = {"domains": ["catalog", "reviews"]}
CONFIG = pagefold.Config.parse({
    "store": {"url": sys.argv[1]},
    "sources": {"pim": EVERY, "forum": {"domains": ["reviews"]}},
    "channels": {"web": {"locale": "de", "currency": "EUR", "requires": ["reviews"]}},
})


def says(source, domain, payload, version=1):
    at = datetime(2026, 1, version, tzinfo=UTC)
    return pagefold.DomainEvent(type=domain, sku="A", channel="*", source=source, source_version=version,
                              occurred_at=at, payload=payload)


async def main():
    async with pagefold.open(CONFIG) as shop:
        results = await shop.append([
            says("pim", "catalog", {"family": "shirts"}),
            says("pim", "reviews", {"stars": 5}),
            says("forum", "reviews", {"stars": 1}),
            says("forum", "reviews", {"stars": 7, "voices": 2}, 2),
            says("forum", "reviews", {"stars": -1}, 3),
        ])
        await shop.catch_up()
        page = await shop.pages.get_json("A", "web")
        status = await shop.status()
    print(json.dumps({
        "from": [module.__file__ for module in (domains, engine, projections)],
        "outcomes": [[result.outcome, result.path] for result in results],
        "page": json.loads(page),
        "domains": [domain.domain for domain in status.domains],
    }))


asyncio.run(main())
"""


@pytest.fixture
def copy_with_reviews(tmp_path: Path) -> Path:
    """A copy of the program with a fifth domain: one new file, and one import and entry in the list of domains."""
    for package in ("pagefold", *PACKAGES):
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, symlinks=True, ignore=unwanted)
    (tmp_path / "domains" / "reviews.py").write_text(REVIEWS)
    listing = tmp_path / "domains" / "__init__.py"
    text = listing.read_text()
    with_import = text.replace("\n\nDOMAINS", "\nfrom pagefold.domains.reviews import REVIEWS\n\nDOMAINS", 1)
    listing.write_text(re.sub(r"(DOMAINS[^(]*\((?:\n    \w+,)+)", r"\1\n    REVIEWS,", with_import, count=1))
    assert len(listing.read_text().splitlines()) == len(text.splitlines()) + 2
    return tmp_path


def test_a_fifth_domain_is_one_file(copy_with_reviews: Path, store_url: str) -> None:
    """With the file of a new domain and its line, a shop takes its events, folds them, and serves its section."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, store_url.replace("/shop", "/reviewed")],
        cwd=copy_with_reviews,
        env={"PYTHONPATH": str(copy_with_reviews), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout.splitlines()[-1])
    assert all(Path(file).is_relative_to(copy_with_reviews) for file in output["from"])
    assert output["outcomes"] == [["appended", None]] * 4 + [["rejected", "payload.stars"]]
    assert output["domains"] == ["catalog", "pricing", "inventory", "media", "reviews"]
    page = output["page"]
    assert page["reviews"] == {"stars": 12, "voices": 3}
    assert list(page)[-5:] == ["catalog", "pricing", "inventory", "media", "reviews"]
    assert page["readiness"] == {
        "catalog": True,
        "pricing": False,
        "inventory": False,
        "media": False,
        "reviews": True,
    }
    assert page["ready"]
    assert page["sourceVersions"] == {"catalog/pim": 1, "reviews/forum": 2, "reviews/pim": 1}


def modules() -> dict[str, ast.Module]:
    """Every module of the package, parsed, by its name."""
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    names = [".".join(["pagefold", *file.relative_to(ROOT).with_suffix("").parts]) for file in files]
    return {
        name.removesuffix(".__init__"): ast.parse(file.read_text("utf-8"))
        for name, file in zip(names, files, strict=True)
    }


def imported(tree: ast.Module, names: Collection[str]) -> Iterator[str]:
    """The modules that a module imports, anywhere in it, also for types only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in names else node.module


def test_no_modules_import_each_other() -> None:
    """The modules can be ordered so that each comes after those that it imports."""
    trees = modules()
    imports = {name: {each for each in imported(tree, trees) if each != name} for name, tree in trees.items()}
    assert len(imports) > 150
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_every_folder_says_what_is_in_it() -> None:
    """The docstring of its `__init__` opens with a sentence."""
    packages = [file.parent for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    for folder in sorted(set(packages)):
        docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""
        assert docstring.partition("\n\n")[0].endswith("."), folder


def test_the_engine_folder_holds_the_entry_point_and_little_else() -> None:
    """Every other module is in the folder of its part."""
    assert {file.name for file in (ROOT / "engine").glob("*.py")} == {
        "__init__.py",
        "errors.py",
        "events.py",
        "services.py",
        "shop.py",
    }


def test_the_public_surface_is_complete() -> None:
    """Every name in `pagefold.__all__` exists, sorted, documented, and no submodule; only `open` is not listed."""
    assert list(pagefold.__all__) == sorted(pagefold.__all__)
    for name in pagefold.__all__:
        assert getattr(pagefold, name).__doc__, name
    public = {name for name, value in vars(pagefold).items() if not name.startswith("_") and not _is_module(value)}
    assert public == {*pagefold.__all__, "open"}
    assert pagefold.open is pagefold.open_shop


def _is_module(value: object) -> bool:
    return type(value).__name__ == "module"
