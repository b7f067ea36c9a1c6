"""The trees of a configuration: files and tables, the trees of channels, and their errors."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from pagefold import Config
from pagefold.domains import DOMAINS
from pagefold.domains.channel_view import ShownProduct
from pagefold.engine.errors import ConfigurationError
from tests.support.small_shop import Document, document

CATALOG = DOMAINS[0]
CATEGORIES = (
    "code;parent;label-de_DE;active\nmaster;;Katalog;1\ntvs;master;TVs;1\nled_tvs;tvs;LED TVs;1\nprint;;Druck;1\n"
    "print_tv;print;TV;1\nold;master;Alt;0\n"
)
TREE: Document = {"file": "categories.csv", "text": {"de": "label-de_DE"}, "where": {"active": "1"}}


def written(folder: Path, tree: str = 'tree = "master"', categories: str = CATEGORIES, more: str = "") -> Path:
    """A configuration in a file, with a tree in a file beside it."""
    (folder / "categories.csv").write_text(categories)
    config = folder / "pagefold.toml"
    config.write_text(
        '[store]\nurl = "sqlite:///shop"\n[sources.pim]\ndomains = ["catalog"]\n'
        '[trees.catalog]\nfile = "categories.csv"\ntext = { de = "label-de_DE" }\nwhere = { active = "1" }\n'
        f'[channels.web]\nlocale = "de"\ncurrency = "EUR"\n{tree}\n{more}'
    )
    return config


def with_tree(tree: Document, channel: str = "a", **more: Document) -> Document:
    """The small shop with a tree in the configuration itself, that a channel shows."""
    tables = document()
    tables["trees"] = {"catalog": tree, **more}
    tables["channels"]["web-de"]["tree"] = channel
    return tables


def test_a_tree_is_in_a_file_beside_the_configuration(tmp_path: Path) -> None:
    """The channel then needs the file no more; other rows than those of `where` are left out."""
    config = Config.load(written(tmp_path))
    (tmp_path / "categories.csv").unlink()
    assert config.channels["web"].tree == {
        "above": {"led_tvs": "tvs", "master": None, "tvs": "master"},
        "texts": {"led_tvs": "LED TVs", "master": "Katalog", "tvs": "TVs"},
        "others": ["print", "print_tv"],
    }
    [channel] = config.resolved_channels
    again = msgspec.structs.replace(config, trees={})
    assert channel.view is not None
    found = channel.view.shown(ShownProduct({}, ["led_tvs", "print_tv"], None, None), dict)
    assert found is not None
    assert (found[0].categories, found[0].breadcrumb) == ([["master", "tvs", "led_tvs"]], ["Katalog", "TVs", "LED TVs"])
    assert again.fingerprint(CATALOG) == config.fingerprint(CATALOG)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("tvs", ["tvs"]),
        ("catalog", ["a", "b", "tvs"]),
        ("print", ["b", "print"]),
        ("print/b", ["b"]),
        ("print/print", ["print", "b"]),
    ],
)
def test_what_a_channel_may_name(written: str, shown: list[str]) -> None:
    """A category, a whole tree, or both, where several trees have the category. The name of a tree goes first."""
    trees = with_tree(
        {"rows": {"a": {}, "b": {}, "tvs": {"parent": "a"}}},
        written,
        print={"rows": {"print": {}, "b": {"parent": "print"}}},
    )
    found: Any = Config.parse(trees).channels["web-de"].tree
    assert found["above"].keys() == set(shown)


@pytest.mark.parametrize(
    ("tree", "problem"),
    [
        ('tree = "mastr"', "pagefold.toml:12: channels.web.tree: 'mastr' is neither a tree nor a category of one; did"),
        ("tree = 7", "pagefold.toml:12: channels.web.tree: expected `str | object | null`, got `int`"),
        ('tree = { above = { a = "b" } }', "channels.web.tree: 'a' is below 'b', which the tree does not have"),
    ],
)
def test_a_channel_without_such_a_tree(tmp_path: Path, tree: str, problem: str) -> None:
    """The error has the line of the channel's key."""
    with pytest.raises(ConfigurationError) as raised:
        Config.load(written(tmp_path, tree))
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    ("categories", "problem"),
    [
        (CATEGORIES + "a;b;;1\nb;a;;1\n", "line 8 of categories.csv: 'a' is below itself"),
        (CATEGORIES + "a;z;;1\n", "line 8 of categories.csv: 'a' is below 'z', which the tree does not have"),
        (CATEGORIES + "tvs;print;;1\n", "line 8 of categories.csv: 'tvs' is there twice"),
        (CATEGORIES + "a;old;;1\n", "line 8 of categories.csv: 'a' is below 'old', which the tree does not have"),
        ("code;above\n", "categories.csv has no column 'parent'; it has code, above"),
        (CATEGORIES + "a;b\n", "line 8 of categories.csv has other columns"),
    ],
)
def test_a_file_that_is_no_tree(tmp_path: Path, categories: str, problem: str) -> None:
    """The error has the line of the file; that the channel has no tree is no second error."""
    inspected = Config.inspect(written(tmp_path, categories=categories))
    assert [str(each) for each in inspected.problems] == [f"{tmp_path}/pagefold.toml:6: trees.catalog.file: {problem}"]


@pytest.mark.parametrize(
    ("tree", "key", "problem"),
    [
        ({}, "trees.catalog", "needs either a `file` or `rows`"),
        ({"file": "no.csv"}, "trees.catalog.file", "no.csv cannot be read: No such file or directory"),
        ({"file": "no.csv", "encoding": "utf-9"}, "trees.catalog.encoding", "'utf-9' is not an encoding of texts"),
        ({"file": "no.csv", "text": {"german": "x"}}, "trees.catalog.text.german", "'german' is not a BCP 47 tag"),
        ({"rows": {"a": {"parent": "a"}}}, "trees.catalog.rows.a", "'a' is below itself"),
        ({"rows": {"a": {"text": {"german": "x"}}}}, "trees.catalog.rows.a.text.german", "'german' is not a BCP"),
    ],
)
def test_a_tree_that_cannot_be(tree: Document, key: str, problem: str) -> None:
    """The key says where."""
    with pytest.raises(ConfigurationError) as raised:
        Config.parse(with_tree(tree))
    assert str(raised.value).startswith(f"{key}: {problem}")


def test_a_category_of_several_trees() -> None:
    """The error says how to name one."""
    tables = with_tree({"rows": {"a": {}}}, other={"rows": {"a": {}}})
    with pytest.raises(ConfigurationError, match="'a' is in the trees catalog and other; name one, as catalog/a"):
        Config.parse(tables)


def test_only_what_a_channel_shows_folds_again() -> None:
    """A category of another root, a text of another language, and the order of the rows change nothing for a channel.

    A category that becomes known does: it is not listed as unmapped any more.
    """
    rows = {"a": {"text": {"de": "A"}}, "b": {"parent": "a"}, "z": {}}
    same = {"z": {"text": {"de": "Z"}}, "b": {"parent": "a", "text": {"fr": "B"}}, "a": {"text": {"de": "A"}}}
    other = {**rows, "y": {"parent": "z"}}
    before, equal, changed = (
        Config.parse(with_tree({"rows": each})).fingerprint(CATALOG) for each in (rows, same, other)
    )
    assert before == equal
    assert before != changed
    assert Config.parse(document()).resolved_channels[0].view is None


def test_a_requirement_of_a_tree_needs_one() -> None:
    """Else nothing could be known."""
    tables = document()
    asked = {"requires": [{"fields": ["categories"], "in_tree": True}]}
    tables["channels"]["web-de"]["requirements"] = [asked]
    with pytest.raises(ConfigurationError, match=r"^channels\.web-de\.requirements: `in_tree` needs a `tree`"):
        Config.parse(tables)
    tables["channels"]["web-de"]["requirements"] = [{"requires": [{"attributes": ["name"], "in_tree": True}]}]
    with pytest.raises(ConfigurationError, match=r"requires\[0\]\.in_tree: is of categories"):
        Config.parse(tables)
