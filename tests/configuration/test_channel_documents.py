"""The requirement sets that channels name: files, sets in the box, tables."""

from pathlib import Path

import msgspec
import pytest

from pagefold import Config
from pagefold.domains import DOMAINS
from pagefold.domains.channel_view import ShownProduct
from pagefold.engine.configuration.channel_documents import read_requirements, set_in_box, sets_in_box
from pagefold.engine.errors import ConfigurationError
from pagefold.projections.requirements import Requirements, parse_requirements
from tests.support.small_shop import Document, document

CATALOG = DOMAINS[0]


def with_requirements(*requirements: object, **more: object) -> Document:
    """The small shop, with requirements of one channel."""
    tables = document()
    tables["channels"]["web-de"] |= {"requirements": list(requirements), **more}
    return tables


def written(folder: Path, text: str, channel: str = "") -> Path:
    """A configuration in a file, whose channel names `shop.toml` beside it."""
    (folder / "shop.toml").write_text(text)
    config = folder / "pagefold.toml"
    config.write_text(
        '[store]\nurl = "sqlite:///shop"\n[sources.pim]\ndomains = ["catalog"]\n[channels.web]\nlocale = "de"\n'
        f'currency = "EUR"\nrequirements = ["shop.toml"]\n{channel}'
    )
    return config


def test_a_file_is_beside_the_configuration(tmp_path: Path) -> None:
    """Its name is that of the set, unless it says another; the configuration then needs the file no more."""
    config = Config.load(written(tmp_path, '[[requires]]\nattributes = ["name"]\n'))
    (tmp_path / "shop.toml").unlink()
    assert config.channels["web"].requirements == [{"name": "shop", "requires": [{"attributes": ["name"]}]}]
    [channel] = msgspec.json.decode(msgspec.json.encode(config), type=Config).resolved_channels
    assert channel.view is not None
    assert config.resolved_channels[0].view is not None
    assert channel.view.key == config.resolved_channels[0].view.key


def test_a_contract_is_read_once_for_all_channels(tmp_path: Path) -> None:
    """Its tables may be large, and are the same for each channel that names the file. Errors are found as before."""
    config = written(tmp_path, "", "".join(f'[channels.{name}]\nlocale = "de"\ncurrency = "EUR"\n' for name in "ab"))
    text = config.read_text().replace('requirements = ["shop.toml"]\n', "")
    config.write_text(text.replace('currency = "EUR"', 'currency = "EUR"\ncontract = "market.toml"'))
    (tmp_path / "market.toml").write_text(
        '[attributes]\nsize = { from = "size", lookup = "t" }\n[tables.t.rows]\nM = "m"'
    )
    one, *others = [each.contract for each in Config.load(config).channels.values()]
    assert isinstance(one, dict)
    assert all(isinstance(each, dict) and each["tables"] is one["tables"] for each in others)
    (tmp_path / "market.toml").write_text("[attributes")
    with pytest.raises(ConfigurationError) as refused:
        Config.load(config)
    assert "market.toml: is not TOML" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            'version = 2\n[[requires]]\nattribute = ["name"]\n',
            "shop.toml:2: requires[0]: object contains unknown field",
        ),
        ("a b", "shop.toml: is not TOML"),
        ('[families]\na = "b"\nb = "a"\n', "shop.toml:2: families.a: is below itself"),
    ],
)
def test_an_error_names_file_and_line(tmp_path: Path, text: str, problem: str) -> None:
    """The file of the set, not the configuration; every other problem is found, too."""
    inspected = Config.inspect(written(tmp_path, text, "colour = 1\n"))
    shown = sorted(str(each) for each in inspected.problems)
    assert any(problem in each for each in shown), shown
    assert any("channels.web.colour: unknown key" in each for each in shown)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """It is named."""
    config = written(tmp_path, "")
    (tmp_path / "shop.toml").unlink()
    with pytest.raises(ConfigurationError, match=r"shop\.toml: cannot be read: No such file"):
        Config.load(config)


def test_the_sets_in_the_box_are_valid() -> None:
    """Each has its name and a version, says what it is, and counts with all others."""
    assert sets_in_box() == ["google-merchant", "schema-org-product"]
    for name in sets_in_box():
        file = set_in_box(name)
        assert file is not None
        found = read_requirements(file)
        assert found["name"] == name
        assert found["description"]
    config = Config.parse(with_requirements(*sets_in_box(), "google-merchant@1"))
    assert all(isinstance(each, dict) for each in config.channels["web-de"].requirements)


GOOD: Document = {
    "title": "x" * 150,
    "description": "x" * 5_000,
    "brand": "x" * 70,
    "gtin": "4006381333931",
    "color": "/".join(["x" * 40, "y" * 40]),
    "age_group": "adult",
    "gender": "unisex",
    "size": "x" * 100,
    "google_product_category": "1604",
    "mpn": "x" * 70,
    "condition": "used",
    "material": "x" * 200,
    "size_type": ["big", "tall"],
    "item_group_id": "Hemd-1_Ä",
    "product_type": "x" * 750,
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("title", "x" * 151),
        ("description", "x" * 5_001),
        ("brand", "x" * 71),
        ("mpn", "x" * 71),
        ("color", "x" * 41),
        ("color", "/".join(["x" * 40] * 3)),
        ("age_group", "teen"),
        ("gender", "men"),
        ("size", "x" * 101),
        ("material", "x" * 201),
        ("size_type", ["big", "tall", "plus"]),
        ("size_type", "huge"),
        ("item_group_id", "x" * 51),
        ("item_group_id", "a b"),
        ("product_type", "x" * 751),
        ("condition", "open box"),
        ("gtin", "4006381333932"),
    ],
)
def test_the_limits_of_google(name: str, value: object) -> None:
    """A value at each limit is valid, and one beyond it is not."""
    file = set_in_box("google-merchant")
    assert file is not None
    compiled = Requirements([parse_requirements(read_requirements(file))])

    def invalid(attributes: Document) -> list[str]:
        return compiled.measure(ShownProduct(attributes, [], "clothing", None), set()).completeness.invalid

    assert invalid(GOOD) == []
    assert invalid(GOOD | {name: value}) == [name]


@pytest.mark.parametrize(
    ("requirements", "problem"),
    [
        (["google-merchants"], "there is no requirement set 'google-merchants'; did you mean 'google-merchant'?"),
        (["google-merchant@7"], "this release has google-merchant@1, and not version 7"),
        ([{"requires": [{"attributes": []}]}], "requires[0]: names nothing"),
        ([{"families": {"clothing": "x"}}, "google-merchant"], "families.clothing is below 'x'"),
    ],
)
def test_a_set_that_cannot_be(requirements: list[object], problem: str) -> None:
    """The key is that of the channel."""
    with pytest.raises(ConfigurationError, match=r"^channels\.web-de\.requirements") as raised:
        Config.parse(with_requirements(*requirements))
    assert problem in str(raised.value)


CONTRACT = """
version = 2
[attributes]
title = "name"
color = { from = "color", translate = "colors" }
[tables.colors]
file = "colors.csv"
key = "code"
values = { de = "german", en = "english" }
delimiter = ";"
"""
COLORS = "code;german;english\n1;rot;red\n2;;blue\n"


def contracted(folder: Path, text: str = CONTRACT, colors: str = COLORS) -> Path:
    """A configuration in a file, whose channel names a contract beside it, with a table in a file."""
    config = written(folder, "", 'contract = "web.toml"\n')
    (folder / "web.toml").write_text(text)
    (folder / "colors.csv").write_text(colors)
    return config


def test_a_contract_is_beside_the_configuration(tmp_path: Path) -> None:
    """With the files of its tables; the configuration then needs none of them."""
    config = Config.load(contracted(tmp_path))
    for name in ("web.toml", "colors.csv", "shop.toml"):
        (tmp_path / name).unlink()
    contract = config.channels["web"].contract
    assert isinstance(contract, dict)
    assert contract["name"] == "web"
    assert contract["tables"] == {
        "colors": {"rows": {"1": {"de": "rot", "en": "red"}, "2": {"en": "blue"}}, "ignore_case": False}
    }
    again = msgspec.json.decode(msgspec.json.encode(config), type=Config)
    assert again.fingerprint(CATALOG) == config.fingerprint(CATALOG)


@pytest.mark.parametrize(
    ("text", "colors", "problem"),
    [
        (CONTRACT.replace("translate", "translat"), COLORS, "web.toml:5: attributes.color: there is no transform"),
        (CONTRACT.replace("version", "versions"), COLORS, "web.toml: object contains unknown field `versions`"),
        (CONTRACT.replace('"code"', '"id"'), COLORS, "web.toml:7: tables.colors.file: colors.csv has no column 'id'"),
        (CONTRACT, COLORS + "1;rosa;pink\n", "web.toml:7: tables.colors.file: two rows have the key '1', with other"),
        (CONTRACT, COLORS + "3;lila\n", "web.toml:7: tables.colors.file: line 4 of colors.csv has other columns"),
        (CONTRACT.replace("colors.csv", "no.csv"), COLORS, "web.toml:7: tables.colors.file: no.csv cannot be read: No"),
        (CONTRACT + 'encoding = "utf-9"\n', COLORS, "web.toml:11: tables.colors.encoding: 'utf-9' is not an encoding"),
        (CONTRACT.replace("values =", "value ="), COLORS, "web.toml:9: tables.colors.value: expected `str | null`"),
        (CONTRACT + 'value = "german"\n', COLORS, "web.toml:6: tables.colors: of a file needs `key`, and either"),
    ],
)
def test_a_contract_that_cannot_be(tmp_path: Path, text: str, colors: str, problem: str) -> None:
    """The error names the file of the contract, and the line."""
    with pytest.raises(ConfigurationError) as raised:
        Config.load(contracted(tmp_path, text, colors))
    assert str(raised.value).startswith(f"{tmp_path}/{problem}")


def test_a_contract_in_the_configuration() -> None:
    """As a table, whose name is that of the channel unless it says another; its errors have the key."""
    tables = document()
    tables["channels"]["web-de"]["contract"] = {"attributes": {"title": "name"}}
    contract = Config.parse(tables).channels["web-de"].contract
    assert contract == {"name": "web-de", "attributes": {"title": "name"}}
    tables["channels"]["web-de"]["contract"] = {"attributes": {"title": {"from": "name", "upper": True}}}
    with pytest.raises(ConfigurationError, match=r"^channels\.web-de\.contract\.attributes\.title: there is no"):
        Config.parse(tables)


def test_hiding_needs_requirements() -> None:
    """Else it would do nothing."""
    with pytest.raises(ConfigurationError, match=r"^channels\.web-de\.incomplete: has no effect without"):
        Config.parse(with_requirements(incomplete="hide"))


@pytest.mark.parametrize(
    ("filters", "key", "problem"),
    [
        ({"sale": {"only": {"@familly": ["x"]}}}, "filters.sale.only.@familly", "there is no '@familly'"),
        ({"sale": {}}, "filters.sale", "has no condition"),
        ({"sale": {"only": {"size": "M"}}}, "filters.sale.only", "expected `bool | array`"),
        ({"sale": {"not": {"size": ["M"]}}}, "filters.sale.not", "unknown key"),
    ],
)
def test_a_filter_that_cannot_be(filters: Document, key: str, problem: str) -> None:
    """The key of the rule is named."""
    tables = document()
    tables["channels"]["web-de"]["filters"] = filters
    with pytest.raises(ConfigurationError) as raised:
        Config.parse(tables)
    assert str(raised.value).startswith(f"channels.web-de.{key}")
    assert problem in str(raised.value)


def test_a_filter_has_the_categories_below_those_of_a_tree() -> None:
    """So that the fold needs no tree; a changed tree is a changed filter. In two trees, it needs the name."""
    tables = document()
    rows: Document = {"tvs": {"parent": "video"}, "video": {"parent": "all"}, "all": {}, "audio": {"parent": "all"}}
    tables["trees"] = {"shop": {"rows": rows}, "other": {"rows": {"audio": {}, "radio": {"parent": "audio"}}}}
    rule: Document = {"only": {"@categories": ["video", "All > TVs", "tvs"]}, "without": {"@categories": True}}
    tables["channels"]["web-de"]["filters"] = {"media": rule}
    found = Config.parse(tables).channels["web-de"].filters["media"]
    assert found.only == {"@categories": ["tvs", "video", "All > TVs"]}
    assert found.without == {"@categories": True}
    rule["only"]["@categories"] = ["audio"]
    with pytest.raises(
        ConfigurationError, match=r"filters\.media\.only\.@categories: 'audio' is in the trees shop and oth"
    ):
        Config.parse(tables)
    rule["only"]["@categories"] = ["other/audio"]
    assert Config.parse(tables).channels["web-de"].filters["media"].only == {"@categories": ["audio", "radio"]}


def test_the_fingerprint_of_the_catalog_has_the_requirements() -> None:
    """A changed set folds the catalog again, and nothing else; a shop without sets keeps its fingerprints."""
    before = Config.parse(document())
    assert before.resolved_channels[0].view is None
    asked = {"requires": [{"attributes": ["name"]}]}
    variants = [
        with_requirements(asked),
        with_requirements({"requires": [{"attributes": ["gtin"]}]}),
        with_requirements(asked, incomplete="hide"),
        with_requirements(asked, filters={"sale": {"only": {"sale": [True]}}}),
    ]
    configs = [before, *map(Config.parse, variants)]
    assert len({each.fingerprint(CATALOG) for each in configs}) == len(configs)
    for domain in DOMAINS[1:]:
        assert len({each.fingerprint(domain) for each in configs}) == 1
    assert Config.parse(with_requirements(asked)).fingerprint(CATALOG) == configs[1].fingerprint(CATALOG)
