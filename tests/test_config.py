"""The configuration: what it may hold, how its errors read, and the file that `pagefold init` writes."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from engine.command.init import SAMPLE_URL, sample
from engine.config import (
    AppendConfig,
    ChannelConfig,
    Config,
    SourceConfig,
    StoreConfig,
    WorkConfig,
    redacted,
)
from engine.errors import ConfigurationError

GOOD = """
[store]
url = "sqlite:///var/shop"
[sources.pim]
domains = ["catalog"]
[sources.erp]
domains = ["pricing", "inventory"]
[channels.web-de]
locale = "de-DE"
currency = "EUR"
[channels.web-de.sources]
inventory = ["erp"]
"""


def edited(before: str, after: str) -> str:
    """The good configuration with one thing changed."""
    assert before in GOOD
    return GOOD.replace(before, after, 1)


WRONG = [
    (edited('url = "sqlite:///var/shop"', ""), "store.url", "is required"),
    (edited('[store]\nurl = "sqlite:///var/shop"', ""), "store", "is required"),
    (edited("sqlite:///var/shop", "mysql://me:secret@db/shop"), "store.url", "neither sqlite:///folder nor postgresql"),
    (edited("sqlite:///var/shop", "sqlite://var/shop"), "store.url", "sqlite:////folder (absolute)"),
    (edited("sqlite:///var/shop", "sqlite:///"), "store.url", "sqlite:///folder (relative)"),
    (edited('"sqlite:///var/shop"', "7"), "store.url", "expected `str`, got `int`"),
    (edited("[sources.pim]", 'schema = "Page Fold"\n[sources.pim]'), "store.schema", "small letters"),
    (edited("[sources.pim]", 'colour = "red"\n[sources.pim]'), "store.colour", "unknown key"),
    (edited("[store]", "[shop]\n[store]"), "shop", "unknown key"),
    (edited('"catalog"', '"catalogue"'), "sources.pim.domains", "there are catalog, pricing, inventory, media"),
    (edited('["catalog"]', '["catalog", "catalog"]'), "sources.pim.domains", "twice"),
    (edited('["catalog"]', '"catalog"'), "sources.pim.domains", "expected `array`"),
    (edited('domains = ["catalog"]', ""), "sources.pim.domains", "is required"),
    (edited('domains = ["catalog"]', 'domain = ["catalog"]'), "sources.pim.domain", "unknown key"),
    (edited("[sources.pim]", '[sources."p i m"]'), "sources.p i m", "letters, digits"),
    (GOOD.replace("web-de", '"*"'), "channels.*", "every channel"),
    (edited('"EUR"', '"Euro"'), "channels.web-de.currency", "such as 'EUR'"),
    (edited('"de-DE"', '"de_DE"'), "channels.web-de.locale", "such as 'de-AT'"),
    (edited('"EUR"', '"EUR"\nfallbacks = ["en US"]'), "channels.web-de.fallbacks", "such as 'de-AT'"),
    (edited('"EUR"', '"EUR"\nrequires = ["prices"]'), "channels.web-de.requires", "there are catalog"),
    (edited('"EUR"', '"EUR"\nlanguage = "de"'), "channels.web-de.language", "unknown key"),
    (edited('locale = "de-DE"', ""), "channels.web-de.locale", "is required"),
    (edited('inventory = ["erp"]', 'stock = ["erp"]'), "channels.web-de.sources", "there are catalog"),
    (edited('inventory = ["erp"]', 'inventory = ["wms"]'), "channels.web-de.sources.inventory", "there are erp"),
    (edited('inventory = ["erp"]', 'media = ["erp"]'), "channels.web-de.sources.media", "there are none"),
    (edited('inventory = ["erp"]', 'inventory = ["erp", "erp"]'), "channels.web-de.sources.inventory", "twice"),
    (GOOD + "[work]\nbatch = 0", "work.batch", ">= 1"),
    (GOOD + "[work]\nbatch = 60000", "work.batch", "<= 50000"),
    (GOOD + "[work]\npoll_seconds = 0", "work.poll_seconds", "> 0"),
    (GOOD + "[work]\nlease_seconds = 0.5", "work.lease_seconds", ">= 1"),
    (GOOD + "[work]\nspeed = 9", "work.speed", "unknown key"),
    (GOOD + "[append]\nbatch = 9000", "append.batch", "<= 5000"),
    (GOOD + "[append]\ndelay_seconds = 1.0", "append.delay_seconds", "<= 0.005"),
    (GOOD + '[append]\nqueue = "long"', "append.queue", "expected `int`, got `str`"),
]


@pytest.mark.parametrize(("text", "key", "problem"), WRONG, ids=[f"{key}: {problem}" for _, key, problem in WRONG])
def test_every_error_names_the_key_and_what_would_be_right(text: str, key: str, problem: str) -> None:
    """An error has the key as it stands in the file, and says what would be right."""
    with pytest.raises(ConfigurationError) as caught:
        Config.parse(text)
    assert caught.value.key == key
    assert problem in caught.value.problem
    assert str(caught.value).startswith(f"{key}: ")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("place", [0, 1])
def test_an_error_names_the_entry_among_several(place: int) -> None:
    """Of several sources and channels, the one that is wrong is named."""
    names = ["first", "second"]
    document = tomllib.loads(GOOD)
    document["channels"] = {name: {"locale": "de", "currency": "EUR"} for name in names}
    document["channels"][names[place]]["currency"] = 7
    with pytest.raises(ConfigurationError) as caught:
        Config.parse(document)
    assert caught.value.key == f"channels.{names[place]}.currency"


def test_what_is_not_toml_says_where() -> None:
    """A file that cannot be read as TOML says in which line."""
    with pytest.raises(ConfigurationError, match="line 2"):
        Config.parse("[store]\nurl = \n[sources]")


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    """A missing file, a folder, and what is not UTF-8 are configuration errors."""
    with pytest.raises(ConfigurationError, match="`pagefold init` writes one"):
        Config.load(tmp_path / "none.toml")
    with pytest.raises(ConfigurationError, match="cannot read"):
        Config.load(tmp_path)
    (tmp_path / "latin.toml").write_bytes("# Größe".encode("latin-1"))
    with pytest.raises(ConfigurationError, match="cannot read"):
        Config.load(tmp_path / "latin.toml")


def test_the_environment_names_the_file_and_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument goes before the environment, the environment before the file; an empty variable is absent."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pagefold.toml").write_text(GOOD)
    (tmp_path / "other.toml").write_text(edited("var/shop", "var/other"))
    assert Config.load().store.url == "sqlite:///var/shop"
    monkeypatch.setenv("PAGEFOLD_CONFIG", "other.toml")
    assert Config.load().store.url == "sqlite:///var/other"
    assert Config.load("pagefold.toml").store.url == "sqlite:///var/shop"
    monkeypatch.setenv("PAGEFOLD_STORE", "postgresql://db/shop")
    assert Config.load().store.url == "postgresql://db/shop"
    assert Config.parse(edited('url = "sqlite:///var/shop"', "")).store.url == "postgresql://db/shop"
    assert Config.load(store="sqlite:///mine").store.url == "sqlite:///mine"
    monkeypatch.setenv("PAGEFOLD_STORE", "")
    monkeypatch.setenv("PAGEFOLD_CONFIG", "")
    assert Config.load().store.url == "sqlite:///var/shop"


def test_the_environment_is_checked_like_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store URL from outside is not trusted more than one in the file, and its password is not shown."""
    monkeypatch.setenv("PAGEFOLD_STORE", "redis://me:secret@db/0")
    with pytest.raises(ConfigurationError, match=re.escape("redis://me:***@db/0")) as caught:
        Config.parse(GOOD)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@db:5432/shop", "postgresql://me:***@db:5432/shop"),
        ("postgresql://me@db/shop", "postgresql://me@db/shop"),
        ("postgresql://db/shop", "postgresql://db/shop"),
        ("postgresql://me:@db/shop", "postgresql://me:***@db/shop"),
        ("postgresql://:secret@db/shop", "postgresql://:***@db/shop"),
        ("postgresql://me:s:e:cret@db/shop", "postgresql://me:***@db/shop"),
        ("postgresql://me:s/e@cret@db/shop", "postgresql://me:***@db/shop"),
        ("postgresql://db/shop?user=me&password=secret&x=1", "postgresql://db/shop?user=me&password=***&x=1"),
        ("sqlite:///var/shop", "sqlite:///var/shop"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    """Wherever a URL is shown, its password is not, in whichever of the forms it was given."""
    assert redacted(url) == shown


# --- the file that `pagefold init` writes ---------------------------------------------------------

TABLES: dict[str, type[msgspec.Struct]] = {
    "store": StoreConfig,
    "sources.": SourceConfig,
    "channels.": ChannelConfig,
    "work": WorkConfig,
    "append": AppendConfig,
}


def documented() -> dict[str, dict[str, bool]]:
    """By table: the keys that the sample has, commented out or not, and whether a comment stands above each."""
    found: dict[str, dict[str, bool]] = {}
    table, above = "", ""
    for line in sample().splitlines():
        if header := re.fullmatch(r"\[([\w.-]+)\]", line):
            table = header[1]
            if parts := re.fullmatch(r"(channels)\.[\w-]+\.(sources)", table):
                known = found.setdefault("channels.", {})
                known[parts[2]] = known.get(parts[2], False) or above.startswith("# ")
                table = ""
        elif key := re.match(r"(?:# )?([a-z_]+) = ", line):
            name = table if table in TABLES else table.partition(".")[0] + "."
            known = found.setdefault(name, {})
            known[key[1]] = known.get(key[1], False) or above.startswith("# ")
        above = line
    return found


def test_the_sample_documents_every_key() -> None:
    """Every table and key of the configuration is in the file that `pagefold init` writes, with a comment above it."""
    assert {name.rstrip(".") for name in TABLES} == set(Config.__struct_fields__)
    found = documented()
    for name, table in TABLES.items():
        assert found[name].keys() == set(table.__struct_fields__), name
        assert all(found[name].values()), name


def test_the_sample_is_a_configuration() -> None:
    """As it stands; and what is commented out changes nothing when it is taken in: those are the defaults."""
    text = sample()
    assert SAMPLE_URL in text
    config = Config.parse(text)
    assert {source for channel in config.made_for for names in channel.sources.values() for source in names} == set(
        config.sources
    )
    uncommented = re.sub(r"^# ([a-z_]+ = \S+)$", r"\1", text, flags=re.MULTILINE)
    assert uncommented.count("\n#") < text.count("\n#") - 5
    assert Config.parse(uncommented) == config


def test_the_sample_states_the_limits() -> None:
    """The ranges that its comments state are those that are enforced."""
    for table, struct in (("work", WorkConfig), ("append", AppendConfig)):
        section = sample().partition(f"[{table}]")[2]
        for field in msgspec.structs.fields(struct):
            [meta] = field.type.__metadata__
            comment = section.partition(f"# {field.name} = ")[0].splitlines()[-1]
            low = f"above {meta.gt:g}, up to" if meta.gt is not None else f"{meta.ge:g} to"
            assert f"({low} {meta.le!s})" in comment, field.name
