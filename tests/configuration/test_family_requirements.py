"""Requirement sets of tables of families, as Akeneo exports them."""

from pathlib import Path
from typing import Any

import pytest

from pagefold import Config
from pagefold.domains.channel_view import ShownProduct
from pagefold.engine.configuration.family_requirements import FamilyTable, family_requirements
from pagefold.engine.errors import ConfigurationError
from pagefold.projections.requirements import Requirements, parse_requirements
from tests.support.command_line import run_pagefold
from tests.support.small_shop import document

FAMILIES = (
    "code;requirements-ecommerce;requirements-print;label-en_US\n"
    "tees;sku,name,description,price;sku,name;T-shirts\nmugs;sku,name;;Mugs\n"
)


@pytest.fixture
def families(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of families in the working directory."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "families.csv"
    file.write_text(FAMILIES)
    return file


def measured(file: Path, column: str, family: str, foreign: set[str], **attributes: object) -> tuple[int, list[str]]:
    """The completeness of a product, and what is missing."""
    found = family_requirements(FamilyTable(file.name, column), file.parent)
    compiled = Requirements([parse_requirements(found)])
    completeness, _ = compiled.measure(ShownProduct(attributes, [], family, None), foreign)
    return completeness.percent, completeness.missing


def test_each_channel_has_its_column(families: Path) -> None:
    """The SKU counts, as a product has it; a text in another language than the channel's does not."""
    product: dict[str, Any] = {"name": "Tee", "description": "Soft"}
    assert measured(families, "requirements-ecommerce", "tees", {"description"}, **product) == (
        50,
        ["description", "price"],
    )
    assert measured(families, "requirements-print", "tees", {"description"}, **product) == (100, [])
    assert measured(families, "requirements-ecommerce", "mugs", set()) == (50, ["name"])
    assert measured(families, "requirements-ecommerce", "toys", set()) == (100, [])


def test_the_import_prints_a_set(families: Path) -> None:
    """One that a file of its own may have; attributes of the same families are together."""
    code, out, err = run_pagefold("requirements", "import", "families.csv", "--column", "requirements-ecommerce")
    assert (code, err) == (0, "")
    assert out == (
        'name = "families"\nversion = 1\n\n[[requires]]\nfields = ["sku"]\nfamily = ["mugs", "tees"]\n\n'
        '[[requires]]\nattributes = ["name"]\nfamily = ["mugs", "tees"]\nlocale = "channel"\n\n'
        '[[requires]]\nattributes = ["description", "price"]\nfamily = ["tees"]\nlocale = "channel"\n'
    )
    code, _, err = run_pagefold("requirements", "import", "families.csv")
    assert code == 2
    assert "--column: families.csv: is needed: families.csv has requirements-ecommerce, requirements-print of" in err
    families.write_text("code;requirements-web\ntees;name\n")
    assert 'attributes = ["name"]' in run_pagefold("requirements", "import", "families.csv", "--name", "web").out
    families.write_text("family;requirements-web\ntees;name\n")
    code, _, err = run_pagefold("requirements", "import", "families.csv")
    assert (code, "FILE: families.csv: families.csv has no column 'code'; it has family" in err) == (2, True)


def configured(written: object) -> Config:
    """The small shop with a requirement of one channel."""
    tables = document()
    tables["channels"]["web-de"]["requirements"] = [written]
    return Config.parse(tables)


def test_a_channel_may_name_the_file(families: Path) -> None:
    """The set is read when the configuration is, which then needs the file no more."""
    config = configured({"file": "families.csv", "column": "requirements-print"})
    families.unlink()
    assert config.channels["web-de"].requirements == [
        {
            "name": "families",
            "version": 1,
            "requires": [
                {"fields": ["sku"], "family": ["tees"]},
                {"attributes": ["name"], "family": ["tees"], "locale": "channel"},
            ],
        }
    ]


def test_a_set_of_families_may_begin_on_a_day(families: Path) -> None:
    """As other sets."""
    assert families.exists()
    written = {"file": "families.csv", "column": "requirements-print", "valid_from": "2027-01-01", "name": "next"}
    [found] = configured(written).channels["web-de"].requirements
    assert isinstance(found, dict)
    assert (found["name"], found["valid_from"]) == ("next", "2027-01-01")


@pytest.mark.parametrize(
    ("written", "key", "problem"),
    [
        ({"file": "no.csv", "column": "a"}, ".file", "no.csv cannot be read: No such file"),
        ({"file": "families.csv", "column": "a"}, ".file", "families.csv has no column 'a'; it has code"),
        ({"file": "families.csv"}, ".column", "is needed: families.csv has requirements-ecommerce, req"),
        ({"file": "families.csv", "columns": "a"}, "", "object contains unknown field `columns`"),
        ({"file": "families.csv", "column": "code", "encoding": "utf-9"}, ".encoding", "'utf-9' is not an enc"),
    ],
)
def test_a_file_that_cannot_be(families: Path, written: object, key: str, problem: str) -> None:
    """The error has the key of the channel."""
    assert families.exists()
    with pytest.raises(ConfigurationError) as raised:
        configured(written)
    assert str(raised.value).startswith(f"channels.web-de.requirements[0]{key}: {problem}")
