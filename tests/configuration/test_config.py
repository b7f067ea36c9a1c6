"""The configuration: what it may hold, how its errors read, and the file that `pagefold init` writes."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from pagefold.engine.command.init import SAMPLE_URL, sample
from pagefold.engine.configuration.alert_config import AlertConfig
from pagefold.engine.configuration.audit_config import AuditConfig
from pagefold.engine.configuration.category_trees import TreeConfig
from pagefold.engine.configuration.cdc_config import CdcConfig
from pagefold.engine.configuration.channel_config import ChannelConfig
from pagefold.engine.configuration.cloudevents_config import CloudEventsConfig
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.dead_letter_config import DeadLettersConfig
from pagefold.engine.configuration.delta_config import DeltaConfig
from pagefold.engine.configuration.http_config import HttpConfig
from pagefold.engine.configuration.kpi_config import KpiConfig
from pagefold.engine.configuration.reference_config import ReferencesConfig
from pagefold.engine.configuration.saga_config import SagaConfig
from pagefold.engine.configuration.schedule_config import ScheduleConfig, TaskConfig
from pagefold.engine.configuration.shop_config import ShopConfig
from pagefold.engine.configuration.snapshot_config import OrphanLimit, SnapshotConfig
from pagefold.engine.configuration.source_config import SourceConfig
from pagefold.engine.configuration.store_config import StoreConfig
from pagefold.engine.configuration.target_config import (
    FilesTargetConfig,
    HttpTargetConfig,
    KafkaTargetConfig,
    NatsTargetConfig,
    RedisTargetConfig,
    SearchTargetConfig,
    TargetConfig,
)
from pagefold.engine.configuration.toml_tables import redacted
from pagefold.engine.configuration.webhook_config import WebhookConfig
from pagefold.engine.configuration.work_config import AppendConfig, WorkConfig
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.intake.readers.debezium import DebeziumReader
from pagefold.engine.intake.readers.webhooks import WebhookReader
from tests.docs.generated import inherited_keys

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


SNAPSHOT = "sources.erp.snapshot"
FILE = 'file = "prices.ndjson"'
CSV = 'file = "prices.csv"'
URL = 'url = "https://erp.example/prices"'
QUERY = 'query = "SELECT 1"'


def with_snapshot(*lines: str) -> str:
    """The good configuration with a snapshot of the source erp."""
    return "\n".join([GOOD, f"[{SNAPSHOT}]", *lines])


CDC, CLOUDEVENTS = "sources.erp.cdc", "sources.erp.cloudevents"
SAYS = 'contract = "prices.toml"'


def with_events(*lines: str) -> str:
    """A configuration with these lines in the CloudEvents of a source."""
    return "\n".join([GOOD, f"[{CLOUDEVENTS}]", *lines])


def with_cdc(*lines: str) -> str:
    """The good configuration with changes of the tables of the source erp."""
    return "\n".join([GOOD, f"[{CDC}]", *lines])


WRONG = [
    (edited('url = "sqlite:///var/shop"', ""), "store.url", "is required"),
    (edited('[store]\nurl = "sqlite:///var/shop"', ""), "store", "is required"),
    (edited("sqlite:///var/shop", "mysql://me:secret@db/shop"), "store.url", "neither sqlite:///folder nor postgresql"),
    (edited("sqlite:///var/shop", "sqlite://var/shop"), "store.url", "sqlite:////folder (absolute)"),
    (edited("sqlite:///var/shop", "sqlite:///"), "store.url", "sqlite:///folder (relative)"),
    (edited('"sqlite:///var/shop"', "7"), "store.url", "expected `str`, got `int`"),
    (edited("[sources.pim]", 'schema = "Page Fold"\n[sources.pim]'), "store.schema", "lower-case letters"),
    (edited("[sources.pim]", 'colour = "red"\n[sources.pim]'), "store.colour", "unknown key"),
    (edited("[store]", "[shops]\n[store]"), "shops", "unknown key"),
    (edited("[store]", '[shop]\nname = " Sunrise"\n[store]'), "shop.name", "cannot be shown, or space around it"),
    (edited("[store]", '[shop]\nenvironment = "Prod 1"\n[store]'), "shop.environment", "lower-case letters"),
    (edited("[store]", '[shop]\naddress = "shop.example"\n[store]'), "shop.address", "is not an address such as"),
    (edited("[store]", '[shop]\naddress = "https://a:b@shop.example"\n[store]'), "shop.address", "without parameters"),
    (edited("[store]", '[shop]\naddress = "https://shop.example/?a=1"\n[store]'), "shop.address", "without parameters"),
    (
        edited('"catalog"', '"catalogue"'),
        "sources.pim.domains",
        "did you mean 'catalog'? The domains are catalog, pricing",
    ),
    (edited('["catalog"]', '["catalog", "catalog"]'), "sources.pim.domains", "twice"),
    (edited('["catalog"]', '"catalog"'), "sources.pim.domains", "expected `array`"),
    (edited('domains = ["catalog"]', ""), "sources.pim.domains", "is required"),
    (edited('domains = ["catalog"]', 'domain = ["catalog"]'), "sources.pim.domain", "unknown key"),
    (edited("[sources.pim]", '[sources."p i m"]'), "sources.p i m", "letters, digits"),
    (GOOD.replace("web-de", '"*"'), "channels.*", "every channel"),
    (edited('"EUR"', '"Euro"'), "channels.web-de.currency", "such as 'EUR'"),
    (edited('"de-DE"', '"German"'), "channels.web-de.locale", "such as 'de-AT'"),
    (edited('"EUR"', '"EUR"\nfallbacks = ["en US"]'), "channels.web-de.fallbacks", "such as 'de-AT'"),
    (edited('"EUR"', '"EUR"\nrequires = ["prices"]'), "channels.web-de.requires", "The domains are catalog"),
    (edited('"EUR"', '"EUR"\nlanguage = "de"'), "channels.web-de.language", "unknown key"),
    (edited('locale = "de-DE"', ""), "channels.web-de.locale", "is required"),
    (edited('inventory = ["erp"]', 'stock = ["erp"]'), "channels.web-de.sources.stock", "the domains are catalog"),
    (edited('inventory = ["erp"]', 'inventory = ["wms"]'), "channels.web-de.sources.inventory", "the sources are erp"),
    (edited('inventory = ["erp"]', 'media = ["erp"]'), "channels.web-de.sources.media", "there are no sources"),
    (edited('inventory = ["erp"]', 'inventory = ["erp", "erp"]'), "channels.web-de.sources.inventory", "twice"),
    (with_snapshot(""), SNAPSHOT, "exactly one of file, url and query; it has none"),
    (with_snapshot(FILE, URL), SNAPSHOT, "it has file and url"),
    (with_snapshot(FILE, "pages = 3"), f"{SNAPSHOT}.pages", "unknown key"),
    (with_snapshot('file = ""'), f"{SNAPSHOT}.file", "is empty"),
    (with_snapshot('file = "prices.txt"'), f"{SNAPSHOT}.format", 'write format = "ndjson", "csv" or "json"'),
    (with_snapshot('file = "prices.txt.gz"', 'format = "xml"'), f"{SNAPSHOT}.format", "xml"),
    (with_snapshot('file = "a.csv"', 'delimiter = "ab"'), f"{SNAPSHOT}.delimiter", "such as ',' or ';'"),
    (with_snapshot(FILE, 'delimiter = ";"'), f"{SNAPSHOT}.delimiter", "goes with CSV"),
    (with_snapshot(FILE, 'encoding = "cp1252"'), f"{SNAPSHOT}.encoding", "goes with CSV"),
    (
        with_snapshot('file = "a.csv"', 'encoding = "ansi"'),
        f"{SNAPSHOT}.encoding",
        "is not an encoding of texts such as",
    ),
    (with_snapshot(CSV, 'columns = {sku = "A"}'), f"{SNAPSHOT}.columns", "unknown key"),
    (
        with_snapshot(FILE, 'token_variable = "T"'),
        f"{SNAPSHOT}.token_variable",
        "goes with url; this snapshot has file",
    ),
    (with_snapshot(FILE, 'database = "postgresql://h/d"'), f"{SNAPSHOT}.database", "goes with query"),
    (with_snapshot(URL, 'format = "csv"'), f"{SNAPSHOT}.format", "goes with file"),
    (with_snapshot('url = "ftp://erp/prices"'), f"{SNAPSHOT}.url", "such as 'https://erp.example/api/prices'"),
    (with_snapshot('url = "https://[erp/prices"'), f"{SNAPSHOT}.url", "is not an address"),
    (with_snapshot('url = "https://me:secret@erp/prices"'), f"{SNAPSHOT}.url", "token_variable"),
    (with_snapshot(URL, 'token_variable = "my secret"'), f"{SNAPSHOT}.token_variable", "environment variable"),
    (with_snapshot(URL, 'items = "data..items"'), f"{SNAPSHOT}.items", "dotted path"),
    (with_snapshot(URL, 'cursor_parameter = "after"'), f"{SNAPSHOT}.cursor_parameter", "needs cursor"),
    (with_snapshot(URL, 'constants = {sku = "A"}'), f"{SNAPSHOT}.constants.sku", "a contract says the rest"),
    (with_snapshot(FILE, "constants = {payload.amount = 1}"), f"{SNAPSHOT}.constants.payload", "expected `str`"),
    (with_snapshot(FILE, "constants = {type = 7}"), f"{SNAPSHOT}.constants.type", "expected `str`, got `int`"),
    (with_snapshot(FILE, 'header_variables = {X-Key = "K"}'), f"{SNAPSHOT}.header_variables", "goes with url"),
    (
        with_snapshot(URL, 'header_variables = {Host = "K"}'),
        f"{SNAPSHOT}.header_variables.Host",
        "is not a header that",
    ),
    (with_snapshot(URL, 'header_variables = {"X Key" = "K"}'), f"{SNAPSHOT}.header_variables.X Key", "is not a header"),
    (with_snapshot(URL, 'header_variables = {X-Key = "a b"}'), f"{SNAPSHOT}.header_variables.X-Key", "environment var"),
    (with_snapshot(URL, 'paging = {parameter = ""}'), f"{SNAPSHOT}.paging.parameter", "is empty"),
    (with_snapshot(URL, 'paging = {parameter = "p", step = 0}'), f"{SNAPSHOT}.paging.step", "1 or more, or 'rows'"),
    (with_snapshot(URL, 'paging = {parameter = "p", overlap = "id"}'), f"{SNAPSHOT}.paging.overlap", "goes with step"),
    (with_snapshot(URL, 'paging = {parameter = "p", step = "rows", overlap = ""}'), f"{SNAPSHOT}.paging.overlap", "id"),
    (with_snapshot(URL, 'paging = {parameter = "p"}', 'cursor = "next"'), f"{SNAPSHOT}.paging", "contradicts cursor"),
    (
        with_snapshot(URL, 'paging = {parameter = "p"}', "link_ends = true"),
        f"{SNAPSHOT}.paging",
        "contradicts link_ends",
    ),
    (with_snapshot(FILE, 'more = {x = {url = "ftp:x"}}'), f"{SNAPSHOT}.more.x.url", "is not an address"),
    (with_snapshot(FILE, 'ends = "never"'), f"{SNAPSHOT}.ends", "never"),
    (with_snapshot(URL, 'ends = "file"'), f"{SNAPSHOT}.ends", "goes with file"),
    (with_snapshot(FILE, 'settle = "soon"'), f"{SNAPSHOT}.settle", "such as '90s', '15m' or '2d'"),
    (with_snapshot(FILE, "settle = -1"), f"{SNAPSHOT}.settle", "-1 is neither a number of seconds"),
    (with_snapshot(FILE, "settle = nan"), f"{SNAPSHOT}.settle", "nan is neither a number of seconds"),
    (with_snapshot(FILE, 'duration = "1000d"'), f"{SNAPSHOT}.duration", "up to 366 days"),
    (with_snapshot(URL, 'duration = "2h"'), f"{SNAPSHOT}.duration", "goes with file"),
    (with_snapshot(FILE, "stable = true"), f"{SNAPSHOT}.stable", "goes with url"),
    (with_snapshot(FILE, 'hosts = ["a"]'), f"{SNAPSHOT}.hosts", "goes with url"),
    (with_snapshot(URL, 'hosts = ["https://a/b"]'), f"{SNAPSHOT}.hosts", "such as 'files.pim.example'"),
    (with_snapshot(URL, 'hosts = ["me:secret@a"]'), f"{SNAPSHOT}.hosts", "is not a host"),
    (with_snapshot(URL, 'hosts = ["a:b"]'), f"{SNAPSHOT}.hosts", "is not a host"),
    (with_snapshot(URL, 'hosts = ["ftp://a"]'), f"{SNAPSHOT}.hosts", "is not a host"),
    (with_snapshot(URL, 'hosts = [""]'), f"{SNAPSHOT}.hosts", "is not a host"),
    (with_snapshot(URL, "requests_per_second = 0"), f"{SNAPSHOT}.requests_per_second", "> 0"),
    (with_snapshot(URL, "concurrency = 0"), f"{SNAPSHOT}.concurrency", ">= 1"),
    (with_snapshot(QUERY), f"{SNAPSHOT}.database", "database_variable"),
    (with_snapshot(QUERY, 'database = "oracle://me:secret@db/x"'), f"{SNAPSHOT}.database", "'oracle://me:***@db/x'"),
    (with_snapshot(FILE, "max_orphans = []"), f"{SNAPSHOT}.max_orphans", "is empty"),
    (with_snapshot(FILE, "max_orphans = -1"), f"{SNAPSHOT}.max_orphans", "a number such as 500"),
    (with_snapshot(FILE, 'max_orphans = ["5%", "half"]'), f"{SNAPSHOT}.max_orphans", "a share such as '5%'"),
    (with_snapshot(FILE, 'max_orphans = "101%"'), f"{SNAPSHOT}.max_orphans", "a share such as '5%'"),
    (with_cdc(""), f"{CDC}.contract", "is required, here or as sources.erp.contract"),
    (with_cdc(SAYS, 'columns = {sku = "a"}'), f"{CDC}.columns", "unknown key"),
    (with_events(SAYS), CLOUDEVENTS, "needs `sources` or `types`"),
    (with_events('types = ["a"]'), f"{CLOUDEVENTS}.contract", "is required"),
    (with_events(SAYS, 'types = [""]'), f"{CLOUDEVENTS}.types[0]", "is empty; '*' is every value"),
    (with_cdc(SAYS, 'tables = ["prices"]'), f"{CDC}.tables[0]", "'public.prices'"),
    (with_cdc(SAYS, 'unavailable_value = ""'), f"{CDC}.unavailable_value", "is empty"),
    (with_cdc(SAYS, 'table = "public.prices"'), f"{CDC}.table", "unknown key"),
    (GOOD + "[work]\nbatch = 0", "work.batch", ">= 1"),
    (GOOD + "[work]\nbatch = 60000", "work.batch", "<= 50000"),
    (GOOD + "[work]\npoll_seconds = 0", "work.poll_seconds", "> 0"),
    (GOOD + "[work]\nlease_seconds = 0.5", "work.lease_seconds", ">= 1"),
    (GOOD + "[work]\nspeed = 9", "work.speed", "unknown key"),
    (GOOD + "[append]\nbatch = 9000", "append.batch", "<= 5000"),
    (GOOD + "[append]\ndelay_seconds = 1.0", "append.delay_seconds", "<= 0.005"),
    (GOOD + '[http]\nreads = "closed"', "http.reads", "closed"),
    (GOOD + "[http]\ncache_seconds = -1", "http.cache_seconds", ">= 0"),
    (GOOD + "[http]\nport = 80", "http.port", "unknown key"),
    (edited('"EUR"', '"EUR"\ncache_seconds = -1'), "channels.web-de.cache_seconds", ">= 0"),
    (GOOD + '[append]\nqueue = "long"', "append.queue", "expected `int`, got `str`"),
]


@pytest.mark.parametrize(("text", "key", "problem"), WRONG, ids=[f"{key}: {problem}" for _, key, problem in WRONG])
def test_every_error_names_the_key_and_what_would_be_right(text: str, key: str, problem: str) -> None:
    """An error has the key as in the file, and says what is allowed."""
    with pytest.raises(ConfigurationError) as caught:
        Config.parse(text)
    assert caught.value.key == key
    assert problem in caught.value.problem
    assert str(caught.value) == f"{key}: {caught.value.problem}"
    assert "secret" not in caught.value.problem


@pytest.mark.parametrize("place", [0, 1])
def test_an_error_names_the_entry_among_several(place: int) -> None:
    """The error names which of several entries is wrong."""
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
    """An argument overrides the environment, and that the file; an empty variable is absent."""
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
    """A store URL from the environment is checked like one in the file, and its password is not shown."""
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
        ("postgresql://db/shop?user=me&password=secret&port=1", "postgresql://db/shop?user=me&password=***&port=1"),
        ("postgresql://db/shop?pass%77ord=secret", "postgresql://db/shop?pass%77ord=***"),
        ("postgresql://db/shop?sslpassword=a@b&sslkey=/k", "postgresql://db/shop?sslpassword=***&sslkey=***"),
        ("postgresql://db/shop?passfile=/p&sslmode=require", "postgresql://db/shop?passfile=***&sslmode=require"),
        ("postgresql://db/shop?options=-c%20x.secret%3D1", "postgresql://db/shop?options=***"),
        (
            "postgresql://db/shop?Password=x&servicefile=y&secret",
            "postgresql://db/shop?Password=***&servicefile=***&secret***",
        ),
        ("postgresql://me:se?cret@db/shop?host=/run", "postgresql://me:***@db/shop?host=/run"),
        ("sqlite:///var/shop", "sqlite:///var/shop"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    """The password of a URL is never shown, in whichever form it was given."""
    assert redacted(url) == shown


# --- snapshots ------------------------------------------------------------------------------------


def snapshot_in(text: str) -> SnapshotConfig:
    """The snapshot of the source erp."""
    snapshot = Config.parse(text).sources["erp"].snapshot
    assert snapshot is not None
    return snapshot


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("a.ndjson", "ndjson"),
        ("a.jsonl.gz", "ndjson"),
        ("b.x/a.JSON.ZST", "json"),
        ("a.csv", "csv"),
        ("a.ndjson.csv.gz", "csv"),
    ],
)
def test_the_name_of_a_snapshot_tells_its_format(name: str, format: str) -> None:  # the key's name
    """The file's extension shows the format, before that of the compression; `format` overrides it."""
    assert snapshot_in(with_snapshot(f'file = "{name}"')).file_format == format
    assert snapshot_in(with_snapshot(f'file = "{name}"', 'format = "csv"')).file_format == "csv"


@pytest.mark.parametrize(
    ("given", "live", "limit"),
    [
        (500, 10, 500),
        ("500", 10, 500),
        ("5%", 1_000, 50),
        ("5 %", 19, 5),
        ("7 %", 99, 6),
        ("0.5%", 1, 5),
        ("2.5%", 1_000, 25),
        ("0%", 1_000, 0),
        (["5%", 500], 1_000, 50),
        (["5%", 500], 1_000_000, 500),
        (["10%", "5%", 7, 9], 100, 5),
    ],
)
def test_the_limit_of_orphans(given: int | str | list[int | str], live: int, limit: int) -> None:
    """It is a number, a share of the live streams (rounded down, at least five), or the smallest of several."""
    assert OrphanLimit.parse(given).limit(live) == limit
    assert OrphanLimit.parse(["5%", 500]) == snapshot_in(with_snapshot(FILE)).orphan_limit


# --- the file that `pagefold init` writes ---------------------------------------------------------

TABLES: dict[str, type[msgspec.Struct]] = {
    "shop": ShopConfig,
    "store": StoreConfig,
    "sources.": SourceConfig,
    "sources.snapshot.": SnapshotConfig,
    "sources.delta.": DeltaConfig,
    "sources.webhook.": WebhookConfig,
    "sources.cdc.": CdcConfig,
    "sources.cloudevents.": CloudEventsConfig,
    "channels.": ChannelConfig,
    "work": WorkConfig,
    "append": AppendConfig,
    "http": HttpConfig,
    "dead_letters": DeadLettersConfig,
    "audit": AuditConfig,
    "schedule": ScheduleConfig,
    "schedule.tasks.": TaskConfig,
    "references": ReferencesConfig,
    "kpis.": KpiConfig,
    "alerts.": AlertConfig,
    "targets.": TargetConfig,
    "targets.http.": HttpTargetConfig,
    "targets.files.": FilesTargetConfig,
    "targets.nats.": NatsTargetConfig,
    "targets.kafka.": KafkaTargetConfig,
    "targets.redis.": RedisTargetConfig,
    "targets.meilisearch.": SearchTargetConfig,
    "sagas.": SagaConfig,
    "trees.": TreeConfig,
}
EXAMPLE = re.compile(r"^#   (?=[a-z_]+(?:\.[A-Za-z.]+)? = |\[|# )", re.MULTILINE)
"""The start of an example's lines: without it, they are part of the configuration."""


def documented() -> dict[str, dict[str, bool]]:
    """By table: the keys of the sample, commented out or not, and whether each has a comment above it."""
    found: dict[str, dict[str, bool]] = {name: {} for name in TABLES}
    table, above = "", ""
    for line in EXAMPLE.sub("", sample()).splitlines():
        key = None
        if header := re.fullmatch(r"\[(\w+)(\.[\w-]+)?(?:\.(\w+))?\]", line):
            outer, name, inner = header.groups()
            if outer == "schedule" and inner:  # its tables have names one level below
                outer, inner, key, within = "schedule.tasks", None, "tasks", "schedule"
            table = outer + ("." if name else "") + (f"{inner}." if inner else "")
            if inner:
                table, key, within = table if table in TABLES else "", inner, f"{outer}."
        elif match := re.match(r"(?:# )?([a-z_]+)(?:\.[A-Za-z.]+)? = ", line):
            key, within = match[1], table
        if key is not None and within:
            found[within][key] = found[within].get(key, False) or above.startswith("# ")
        above = line
    return found


def test_the_sample_documents_every_key() -> None:
    """Every table and key of the configuration is in the file that `pagefold init` writes, with a comment above it."""
    assert {name.partition(".")[0] for name in TABLES} | {"apply"} == set(Config.__struct_fields__)
    assert re.search(r"^# .*\n# apply = ", sample(), re.MULTILINE)
    found = documented()
    for name, table in TABLES.items():
        inherited = inherited_keys(table)
        assert found[name].keys() - inherited == set(table.__struct_fields__) - inherited, name
        assert all(found[name].values()), name


def test_the_examples_in_the_sample_are_configurations() -> None:
    """With its examples uncommented it is a configuration with a snapshot of each kind, and the defaults."""
    config = Config.parse(EXAMPLE.sub("", sample()))
    snapshots = [source.snapshot for source in config.sources.values() if source.snapshot is not None]
    assert [snapshot.kind for snapshot in snapshots] == ["url", "file", "query"]
    for name in ("requests_per_second", "concurrency", "timeout_seconds", "max_orphans"):
        assert len({str(getattr(snapshot, name)) for snapshot in snapshots}) == 1
        assert re.search(rf"^#   {name} = ", sample(), re.MULTILINE)
    WebhookReader(config, "pim")  # paths that cannot work would raise
    DebeziumReader(config, "erp")


def test_the_sample_is_a_configuration() -> None:
    """So is it with the commented keys uncommented, which changes nothing: those are the defaults."""
    text = sample()
    assert SAMPLE_URL in text
    config = Config.parse(text)
    assert {
        source for channel in config.resolved_channels for names in channel.sources.values() for source in names
    } == set(config.sources)
    uncommented = re.sub(r"^# ([a-z_]+ = \S+)$", r"\1", text, flags=re.MULTILINE)
    assert uncommented.count("\n#") < text.count("\n#") - 5
    assert Config.parse(uncommented) == config


def test_the_sample_states_the_limits() -> None:
    """The ranges that its comments state are those that are enforced."""
    text = EXAMPLE.sub("# ", sample())
    limited: dict[str, type[msgspec.Struct]] = {
        "work": WorkConfig,
        "append": AppendConfig,
        "http": HttpConfig,
        "dead_letters": DeadLettersConfig,
        "audit": AuditConfig,
        "references": ReferencesConfig,
        "sources.pim.snapshot": SnapshotConfig,
    }
    for table, struct in limited.items():
        section = text.partition(f"[{table}]")[2]
        for field in msgspec.structs.fields(struct):
            limits = [each for each in getattr(field.type, "__metadata__", ()) if each.le is not None]
            if not limits:
                continue
            [meta] = limits
            comment = section.partition(f"# {field.name} = ")[0].splitlines()[-1]
            low = f"above {meta.gt:g}, up to" if meta.gt is not None else f"{meta.ge:g} to"
            assert f"({low} {meta.le!s})" in comment, field.name


def test_a_configuration_is_read_again_from_its_own_document() -> None:
    """A document from Python may have None for a table that is not there, as TOML cannot."""
    config = Config.parse(GOOD)
    document = msgspec.to_builtins(config)
    assert document["sources"]["pim"]["webhook"] is None
    assert Config.parse(document) == config
