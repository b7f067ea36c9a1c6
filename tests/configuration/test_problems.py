"""Every problem of a configuration, with its place in the file."""

import tomllib
from pathlib import Path

import pytest

from pagefold.engine.command.init import sample
from pagefold.engine.configuration.channel_config import locale_error
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.spelling import nearest_name
from pagefold.engine.configuration.toml_lines import KeyLines
from pagefold.engine.errors import ConfigurationError

WRONG = """\
[store]
url = "sqlite:///var/shop"
colour = "red"

[sources.pim]
domains = ["catalogue"]
[sources.erp]
domains = ["pricing"]
  [sources.erp.snapshot]
  file = "prices.ndjson"
  ends = "files"
  settle = "soon"
  [sources.erp.webhook]
  secret_variables = [
    "ERP_SECRET",
    "not a name",
  ]
  only_headers = { "X Topic" = ["a"] }
  contract = "prices.toml"

[channels.web-de]
local = "de-DE"
currency = "Euro"
fallbacks = ["jp"]
sources.pricing = ["erpp"]
[http]
reads = "Open"
cache_seconds = "60"
[works]
"""

PROBLEMS = [
    (3, "store.colour", "unknown key; the keys are url, schema"),
    (6, "sources.pim.domains", "unknown domain 'catalogue'; did you mean 'catalog'?"),
    (11, "sources.erp.snapshot.ends", "unknown value 'files'; did you mean 'file'? The values are marker, file"),
    (12, "sources.erp.snapshot.settle", "'soon' is neither a number of seconds"),
    (14, "sources.erp.webhook.secret_variables[1]", "is not the name of an environment variable"),
    (18, "sources.erp.webhook.only_headers.X Topic", "'X Topic' is not the name of a header"),
    (21, "channels.web-de.locale", "is required"),
    (22, "channels.web-de.local", "unknown key; did you mean 'locale'? The keys are locale, currency, fallbacks"),
    (23, "channels.web-de.currency", "'Euro' is not an ISO 4217 code"),
    (24, "channels.web-de.fallbacks", "'jp' has an unknown language 'jp' (ISO 639-1); JP is a country"),
    (25, "channels.web-de.sources.pricing", "'erpp' is not a source of this domain; did you mean 'erp'?"),
    (27, "http.reads", "unknown value 'Open'; did you mean 'open'?"),
    (28, "http.cache_seconds", "expected `int`, got `str`"),
    (29, "works", "unknown key; did you mean 'work'?"),
]


def test_every_problem_is_found_with_its_line(tmp_path: Path) -> None:
    """One pass lists all of them, in the file's order, each with file, line, key and what is allowed."""
    file = tmp_path / "pagefold.toml"
    file.write_text(WRONG)
    found = Config.inspect(file).problems
    assert [(each.place, each.key) for each in found] == [(f"{file}:{line}", key) for line, key, _ in PROBLEMS]
    for error, (line, key, problem) in zip(found, PROBLEMS, strict=True):
        assert error.problem.startswith(problem)
        assert str(error).startswith(f"{file}:{line}: {key}: ")
    with pytest.raises(ConfigurationError) as caught:
        Config.load(file)
    assert str(caught.value) == str(found[0])


def test_what_is_wrong_raises_no_further_problem(tmp_path: Path) -> None:
    """A source whose domains are wrong may still be named by a channel; a table that is missing is one problem."""
    file = tmp_path / "pagefold.toml"
    file.write_text(
        "[sources.erp]\ndomains = 7\n[channels.a]\nlocale = 'de'\ncurrency = 'EUR'\nsources.pricing = ['erp']\n"
    )
    assert [str(each) for each in Config.inspect(file).problems] == [
        f"{file}: store: is required",
        f"{file}:2: sources.erp.domains: expected `array`, got `int`",
    ]


def test_what_is_not_toml_has_its_line(tmp_path: Path) -> None:
    """A file that is not TOML says in which line."""
    (tmp_path / "bad.toml").write_text("[store]\nurl = \n")
    with pytest.raises(ConfigurationError, match=r"bad\.toml:2: this is not TOML"):
        Config.load(tmp_path / "bad.toml")


def test_a_store_given_outside_the_file_has_no_line(tmp_path: Path) -> None:
    """An error in PAGEFOLD_STORE or --store has no line of the file."""
    (tmp_path / "good.toml").write_text(sample())
    [error] = Config.inspect(tmp_path / "good.toml", store="redis://h").problems
    assert str(error).startswith("store.url: ")


def test_every_key_of_the_sample_has_its_line() -> None:
    """For each key, the line holds its name; tables have the line of their header."""
    text = sample()
    lines = text.splitlines()
    found = KeyLines(text)

    def check(table: dict[str, object], prefix: str) -> int:
        number = 0
        for name, value in table.items():
            line = found.line_of(prefix + name)
            assert line is not None or isinstance(value, dict)
            assert line is None or name in lines[line - 1]
            number += 1 + (check(value, f"{prefix}{name}.") if isinstance(value, dict) else 0)
        return number

    assert check(tomllib.loads(text), "") > 30


def test_lines_of_values_that_are_hard_to_read() -> None:
    """Values of several lines, quoted keys, arrays of tables and comments do not shift what follows."""
    text = 'a = """\nb = 1\n"""\n# c = 2\n"d.e" = [ # [x]\n  1,\n]\n[[f]]\ng = 1\n[[f]]\n[ h . "i" ]\nj.k = {l = 1}\n'
    lines = KeyLines(text)
    keys = ("a", "b", "c", "d.e", "d.e[0]", "f", "f.g", "h.i", "h.i.j.k.l", "h.i.nothing")
    assert [lines.line_of(key) for key in keys] == [1, None, None, 5, 5, 8, 9, 11, 12, 11]


@pytest.mark.parametrize(
    ("locale", "problem"),
    [
        ("de-DE", None),
        ("de_DE", None),
        ("zh-Hant-TW", None),
        ("ca_ES@valencia", None),
        ("es-419", None),
        ("en-UK", None),
        ("gsw-CH", None),
        ("en-XA", None),
        ("deutsch", "is not a BCP 47 tag"),
        ("jp-JP", "unknown language 'jp' (ISO 639-1); JP is a country, its language is 'ja'"),
        ("de-XX", None),
        ("de-QQ", "unknown region 'QQ' (ISO 3166-1)"),
        ("qq", "unknown language 'qq'"),
    ],
)
def test_locales_are_checked(locale: str, problem: str | None) -> None:
    """A two-letter language or region must exist; private regions and three-letter languages are accepted."""
    fault = locale_error(locale)
    assert fault is None if problem is None else fault is not None and problem in fault


@pytest.mark.parametrize(
    ("given", "nearest"), [("prices", "pricing"), ("Catalog", "catalog"), ("colour", None), ("", None)]
)
def test_the_nearest_name(given: str, nearest: str | None) -> None:
    """The most similar name is found, ignoring case; none if none is similar."""
    assert nearest_name(given, ["catalog", "pricing", "inventory", "media"]) == nearest
