"""Tables of contracts that endpoints have: fetched before a run, again when they are old, and for deliveries."""

from functools import partial
from pathlib import Path

import anyio
import orjson
import pytest
from anyio.to_thread import run_sync

import pagefold
from pagefold.engine.configuration import endpoint_config
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.snapshot_config import SnapshotConfig
from pagefold.engine.dead_letters.webhook_retrier import Request
from pagefold.engine.errors import ConfigurationError, SourceFailed, TableUnavailable
from pagefold.engine.events import DomainEvent
from pagefold.engine.intake.contracts.fetched_tables import fetched_tables
from pagefold.engine.runtime.clock import now
from pagefold.engine.snapshots import lookups
from pagefold.projections.transforms import InvalidValue
from tests.support.command_line import run_pagefold
from tests.support.fake_endpoint import Asked, Reply, Server, serving
from tests.support.small_shop import Document, everything
from tests.support.snapshot_fixtures import payload_of, read

CONTRACT = {
    "versions": "none",
    "sku": "sku",
    "catalog": {
        "attributes": {"color": {"from": "color", "lookup": "colors"}},
    },
}


@pytest.fixture(autouse=True)
def _impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives up after two requests, and has the store in a folder of its own."""
    monkeypatch.setattr(endpoint_config, "ATTEMPTS", 2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOOK", "whsec_" + "A" * 44)


class Options:
    """A system with products, and labels of their colors; `fault` answers for the labels."""

    def __init__(self) -> None:
        self.labels = {"49": "Black", "50": "Red"}
        self.fault: Reply | None = None

    def __call__(self, asked: Asked) -> Reply:
        if asked.path == "/products":
            return Reply(orjson.dumps([{"sku": "A", "color": 49}]), headers={"x-total-count": "1"})
        if self.fault is not None:
            return self.fault
        page = int(asked.query.get("page", 1))
        rows = [{"id": code, "admin": {"label": label}} for code, label in self.labels.items()]
        return Reply(orjson.dumps(rows[page - 1 : page]), headers={"x-total-count": str(len(rows))})

    @property
    def unreachable(self) -> Reply:
        """A failure that no retry changes."""
        return Reply(status=403)


def at(server: Server, contract: Document = CONTRACT, **lookup: object) -> Config:
    """A shop whose source pim has products, webhooks, and a table of colors."""
    colors = {"url": f"{server.url}/colors", "paging": {"parameter": "page"}, "key": "id", "value": "admin.label"}
    return Config.parse(
        {
            "store": {"url": "sqlite:///shop"},
            "sources": {
                "erp": {
                    "domains": ["catalog"],
                    "contract": contract,
                    "snapshot": {"url": f"{server.url}/products", "requests_per_second": 1000.0},
                    "webhook": {"secret_variables": ["HOOK"]},
                    "lookups": {"colors": {"requests_per_second": 1000.0} | colors | lookup},
                }
            },
            "channels": {"web": {"locale": "de", "currency": "EUR"}},
        }
    )


def snapshot_of(config: Config) -> SnapshotConfig:
    """The snapshot of the source."""
    snapshot = config.sources["erp"].snapshot
    assert snapshot is not None
    return snapshot


async def color_in(config: Config) -> object:
    """The color of the product in a snapshot."""
    found = await read(config)
    event = found.rows[0].event
    assert isinstance(event, DomainEvent), event
    attributes = payload_of(event).get("attributes", {})
    assert isinstance(attributes, dict)
    return attributes.get("color")


async def test_a_table_is_fetched_before_a_run() -> None:
    """All of its pages; the contract looks up in it by its name."""
    async with serving(Options()) as server:
        assert await color_in(at(server)) == "Black"
        assert [asked.path for asked in server.asked] == ["/colors", "/colors", "/products"]


async def test_a_table_is_fetched_again_when_it_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before `every`; also a copy of the configuration has it."""
    seconds = [1_000.0]
    monkeypatch.setattr(lookups, "monotonic", lambda: seconds[0])
    options = Options()
    async with serving(options) as server:
        config = at(server, every="10m")
        await color_in(config)
        options.labels["49"] = "Night"
        seconds[0] += 599
        assert await color_in(config.with_snapshot("erp", snapshot_of(config))) == "Black"
        seconds[0] += 2
        assert await color_in(config) == "Night"


async def test_the_last_table_counts_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """If it cannot be fetched, runs use it until it is `stale`, and fail then; without one, they fail at once."""
    seconds = [1_000.0]
    monkeypatch.setattr(lookups, "monotonic", lambda: seconds[0])
    options = Options()
    async with serving(options) as server:
        config = at(server, every="10m", stale="1h")
        options.fault = options.unreachable
        with pytest.raises(SourceFailed, match="403"):
            await read(config)
        options.fault = None
        assert await color_in(config) == "Black"
        options.fault = options.unreachable
        seconds[0] += 3_599
        assert await color_in(config) == "Black"
        asked = len(server.asked)
        await color_in(config)
        assert len(server.asked) == asked + 1, "it is not asked for again at once"
        seconds[0] += 61
        with pytest.raises(SourceFailed, match="403"):
            await read(config)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (Reply(b"{"), "not JSON"),
        (Reply(b"{}"), "expected an array"),
        (Reply(b'[{"id":1,"admin":{"label":"a"}}]', headers={"x-total-count": "2"}), "a row came twice"),
        (Reply(b'[{"id":1,"admin":{"label":"a"}},{"id":"1","admin":{"label":"b"}}]'), "two rows have the key '1'"),
    ],
)
async def test_a_table_that_cannot_be_used(reply: Reply, problem: str) -> None:
    """It is not used in part: the run fails."""
    options = Options()
    options.fault = reply
    async with serving(options) as server:
        with pytest.raises(SourceFailed, match=problem):
            await read(at(server, paging=None) if "two rows" in problem else at(server))


async def test_texts_by_locale() -> None:
    """With `values`, the contract translates by the table; a text that is not there is left out."""
    rows = [
        {"code": "black", "labels": {"de_DE": "Schwarz", "en_US": "Black"}},
        {"code": "x", "labels": {"en_US": "X"}},
    ]
    contract = CONTRACT | {"catalog": {"localized": {"color": {"from": "color", "translate": "colors"}}}}

    def answering(asked: Asked) -> Reply:
        body = [{"sku": "A", "color": ["black", "x"]}] if asked.path == "/products" else rows
        return Reply(orjson.dumps(body), headers={"x-total-count": str(len(body))})

    values = {"de": "labels.de_DE", "en": "labels.en_US"}
    async with serving(answering) as server:
        config = at(server, contract, key="code", value=None, values=values, paging=None)
        found = await read(config)
        event = found.rows[0].event
        assert isinstance(event, DomainEvent), event
        assert payload_of(event)["localized"] == {"color": {"de": "Schwarz", "en": "Black, X"}}


def delivery() -> Request:
    """A delivery with one product."""
    return Request("webhook", "erp", b'{"sku":"A","color":50}', now())


async def deliver(shop: pagefold.Shop) -> str:
    """The outcome of a delivery."""
    reader = shop.webhooks.reader("webhook", "erp")
    assert reader is not None

    [[outcome]] = await shop.webhooks.take(delivery(), reader, run_sync, shop.append_atomically)
    return getattr(outcome, "outcome", str(outcome))


async def test_a_delivery_fetches_a_table_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one, nothing is taken, so that the sender repeats it; then the last one counts however old it is."""
    seconds = [1_000.0]
    monkeypatch.setattr(lookups, "monotonic", lambda: seconds[0])
    options = Options()
    async with serving(options) as server, pagefold.open(at(server)) as shop:
        options.fault = options.unreachable
        with pytest.raises(TableUnavailable, match="the table 'colors' could not be fetched; send this again later"):
            await deliver(shop)
        options.fault = None
        assert await deliver(shop) == "appended"
        asked = len(server.asked)
        assert await deliver(shop) == "duplicate"
        assert len(server.asked) == asked
        options.fault = options.unreachable
        seconds[0] += 1_000_000
        assert await deliver(shop) == "duplicate"
        [event] = await everything(shop.store)
        assert b"Red" in event.state


async def test_deliveries_share_a_fetch() -> None:
    """Many that come together wait for one request."""
    async with serving(Options()) as server, pagefold.open(at(server)) as shop:
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(deliver, shop)
        assert len(server.asked) == 2


def test_a_table_without_rows_has_no_values() -> None:
    """A contract compiles before a table is fetched; a record that needs it is refused."""
    config = at(_nowhere())
    table = fetched_tables(config, "erp")["colors"]
    with pytest.raises(InvalidValue, match="the table 'colors' was not fetched"):
        table.find("49")
    assert len(table) == 0


def _nowhere() -> Server:
    server = Server(Options())
    server.url = "http://127.0.0.1:9"
    return server


@pytest.mark.parametrize(
    ("lookup", "problem"),
    [
        ({"value": None}, "lookups.colors.value: is required, or values"),
        ({"values": {"de": "x"}}, "lookups.colors.value: is required, or values"),
        ({"key": "a..b"}, "lookups.colors.key: 'a..b' is not a dotted path"),
        ({"every": "soon"}, "lookups.colors.every: 'soon' is neither a number of seconds nor a duration"),
        ({"url": "x"}, "lookups.colors.url: is not an address"),
    ],
)
def test_what_cannot_be_configured(lookup: Document, problem: str) -> None:
    """Each mistake has its message."""
    with pytest.raises(ConfigurationError) as caught:
        at(_nowhere(), **lookup)
    assert problem in str(caught.value)


async def test_contracts_are_checked_with_their_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pagefold contracts check` fetches them before, for a contract of the configuration and for one in a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "items.ndjson").write_text('{"sku":"A","color":49}\n')
    mapping = '{ from = "color", lookup = "colors" }'
    (tmp_path / "erp.toml").write_text(f'sku = "sku"\nversions = "none"\ncatalog.attributes.x = {mapping}\n')
    async with serving(Options()) as server:
        (tmp_path / "pagefold.toml").write_text(
            f"""
            store.url = "sqlite:///store"
            channels.web = {{ locale = "de", currency = "EUR" }}
            [sources.erp]
            domains = ["catalog"]
            contract = {{ sku = "sku", versions = "none", catalog.attributes.c = {mapping} }}
            [sources.erp.lookups.colors]
            url = "{server.url}/colors"
            paging = {{ parameter = "page" }}
            key = "id"
            value = "admin.label"
            """
        )
        arguments = ("contracts", "check", "items.ndjson", "--source", "erp")
        configured = await run_sync(run_pagefold, *arguments)
        given = await run_sync(partial(run_pagefold, *arguments, "--contract", "erp.toml"))
    assert '{"attributes": {"c": "Black"}}' in configured.out
    assert '{"attributes": {"x": "Black"}}' in given.out
