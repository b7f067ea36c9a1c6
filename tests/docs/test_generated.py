"""The tables of the documentation match the code."""

import re
from pathlib import Path

import pytest

from pagefold.domains import DOMAINS
from tests.docs.generated import CHANNELS, CONFIGURATION, KPIS_PAGE, PAYLOADS, TRANSFORMS, WHY, rendered, tables
from tests.docs.transform_reference import PARTS, groups


@pytest.mark.parametrize("page", [PAYLOADS, CONFIGURATION, CHANNELS, WHY, KPIS_PAGE], ids=lambda page: page.name)
def test_a_generated_page_is_up_to_date(page: Path) -> None:
    """`scripts/docs` would change nothing."""
    text = page.read_text("utf-8")
    assert rendered(text) == text


def test_every_domain_is_described() -> None:
    """The page of payloads has the fields of every domain."""
    described = re.findall(r"^<!-- generated: payload (\w+) -->$", PAYLOADS.read_text("utf-8"), re.MULTILINE)
    assert described == [domain.name for domain in DOMAINS]


def test_every_table_is_described() -> None:
    """The page of the configuration has every table, once."""
    described = re.findall(r"^<!-- generated: table ([\w ]+) -->$", CONFIGURATION.read_text("utf-8"), re.MULTILINE)
    assert sorted(described) == sorted(tables())


def test_the_page_of_transforms_is_up_to_date() -> None:
    """`scripts/docs` would change nothing, and the page has every group of the registry, in its order."""
    text = TRANSFORMS.read_text("utf-8")
    assert rendered(text, PARTS) == text
    assert re.findall(r"^<!-- generated: transforms ([\w-]+) -->$", text, re.MULTILINE) == groups()
