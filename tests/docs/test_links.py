"""Links between the pages of the documentation lead somewhere, and what a page names exists."""

import re
from pathlib import Path

import pytest

from tests.support.documents import PAGES, README, ROOT, prose

CHANGELOG = ROOT / "CHANGELOG.md"
EVERY_PAGE = [README, CHANGELOG, *PAGES]
each_page = pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: page.name)
FOLDERS = ("benchmarks", "deploy", "docs", "domains", "engine", "pagefold", "projections", "scripts", "tests")

_link = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_path = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)`")
_heading = re.compile(r"^#+ (.+)$", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = _heading.findall(prose(page.read_text("utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_no_link_is_dead(page: Path) -> None:
    """Each link to a page of this repository leads to a file, and to a heading where it names one."""
    for link in _link.findall(prose(page.read_text("utf-8"))):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


@each_page
def test_every_file_that_is_named_exists(page: Path) -> None:
    """A path in backquotes that begins with a folder of the repository is there."""
    for path in _path.findall(prose(page.read_text("utf-8"))):
        assert (ROOT / path).exists(), f"{page.name} names {path}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    """The README links to each page in docs/, and to the changes; each page in a folder has a link in docs/."""
    for page in {*PAGES, CHANGELOG}:
        above = README if page.parent in {ROOT, ROOT / "docs"} else page.parent.with_suffix(".md")
        assert page in {(above.parent / link.partition("#")[0]).resolve() for link in _link.findall(above.read_text())}
