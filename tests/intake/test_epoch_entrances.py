"""Epochs on the command line and over HTTP, and events that name theirs in every format."""

import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

import pagefold
from pagefold import Config, DomainEvent, Shop
from pagefold.engine.errors import Rejected
from pagefold.engine.http.openapi import document
from pagefold.engine.http.route_table import ROUTES
from pagefold.engine.intake.event_parser import parse_event
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.projections.epochs import versioned
from tests.support.command_line import on_sqlite, run_pagefold, settle
from tests.support.http_clients import client_of, problem_in, service_of
from tests.support.rebuild_fixtures import export_lines, with_snapshots
from tests.support.small_shop import (
    SKU,
    append,
    as_document,
    as_line,
    configured,
    everything,
    price,
    say,
    section,
    stock,
    stream_of,
)


@pytest.fixture
def workplace(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a configuration and an empty store of each kind."""
    return settle(tmp_path, store_url, monkeypatch)


@pytest.fixture
async def operator(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    """An operator's client, which may write, too."""
    async with client_of(service_of(shop, None), "all") as opened:
        yield opened


def line_in(epoch: object, given: DomainEvent) -> bytes:
    """The event as a line with an epoch."""
    return msgspec.json.encode({"epoch": epoch} | as_document(given))


async def versions(shop: Shop) -> list[int]:
    """The versions in the log, by position."""
    return [each.originator_version for each in await everything(shop.store)]


# --- the command ----------------------------------------------------------------------------------


def test_the_command_raises_and_lists(workplace: Path) -> None:
    """An epoch is raised for a source and for a stream, and listed with who, when and why, as text and as JSON."""
    ran = run_pagefold("epochs", "list")
    assert (ran.code, ran.out) == (0, "")
    assert "all events are of epoch 0" in ran.err
    ran = run_pagefold("epochs", "raise", "erp", "--reason", "restored", "--as", "kim")
    assert (ran.code, ran.out) == (0, "erp  is in epoch 1 from now on\n")
    ran = run_pagefold(
        "epochs", "raise", "A/*/pricing/erp", "--reason", "nonsense", "--as", "lee", "--epoch", "5", "--json"
    )
    assert {name: ran.document[name] for name in ("what", "scope", "epoch", "operator", "reason")} == {
        "what": "raised",
        "scope": "A/*/pricing/erp",
        "epoch": 5,
        "operator": "lee",
        "reason": "nonsense",
    }
    listed = run_pagefold("epochs", "list").out
    assert [word in listed for word in ("A/*/pricing/erp", "kim", "restored", "raised")] == [True] * 4
    assert [each["epoch"] for each in run_pagefold("epochs", "list", "--json").documents] == [5, 1]


@on_sqlite
def test_the_command_refuses(workplace: Path) -> None:
    """An invalid raise or dismissal is one sentence, and exit code 1."""
    for arguments, words in (
        (("raise", "mars", "--reason", "so"), "unknown source 'mars'"),
        (("raise", "erp", "--reason", "so", "--epoch", "0"), "erp is in epoch 0"),
        (("raise", "erp", "--reason", " "), "reason: must not be blank"),
        (("dismiss", "erp", "--reason", "so"), "'erp' does not look reset"),
    ):
        code, out, err = run_pagefold("epochs", *arguments, "--as", "kim")
        assert (code, out, len(err.splitlines())) == (1, "", 1)
        assert words in err


def test_status_fails_until_answered(workplace: Path) -> None:
    """While a source looks reset, `status` exits 1 and says what to do; afterwards it exits 0."""

    def line(version: int, hour: int) -> str:
        return (
            f'{{"type":"pricing","sku":"A","channel":"*","source":"erp","sourceVersion":{version},'
            f'"occurredAt":"2026-01-01T{hour:02}:00:00Z","payload":{{"currency":"EUR","amount":"{version}.00"}}}}'
        )

    file = workplace / "prices.ndjson"
    for lines in ([line(50, 1)], [line(1, 2), line(2, 3), line(3, 4)]):
        file.write_text("\n".join(lines))
        assert run_pagefold("ingest", str(file)).code == 0
        assert run_pagefold("work", "--once").code == 0
    ran = run_pagefold("status")
    assert ran.code == 1
    words = " ".join(ran.err.split())
    assert "source looks reset: 3 events of erp about pricing" in words
    assert "`pagefold epochs raise erp --reason …`" in words
    assert run_pagefold("status", "--json").code == 1
    assert run_pagefold("epochs", "raise", "erp", "--reason", "restored", "--as", "kim").code == 0
    assert run_pagefold("status").code == 0
    assert run_pagefold("ingest", str(file)).code == 0
    assert run_pagefold("history", "A", "--oldest", "--json").documents[-1]["epoch"] == 1
    assert "version 3 of epoch 1" in run_pagefold("history", "A").out


# --- over HTTP ------------------------------------------------------------------------------------


async def test_operators_raise_over_http(shop: Shop, operator: httpx2.AsyncClient) -> None:
    """With the token's name as operator; an invalid one is 422 with its path."""
    await say(shop, price("9.00", version=90))
    answer = await operator.post("/v1/epochs", json={"scope": "erp", "reason": "restored"})
    assert answer.status_code == 200
    note = answer.json()
    assert (note["scope"], note["epoch"], note["reason"]) == ("erp", 1, "restored")
    await say(shop, price("1.00", version=1))
    assert (await section(shop, "pricing"))["amount"] == "1.00"
    [item] = (await operator.get("/v1/epochs")).json()["items"]
    assert item == note | {"position": 3, "domain": None, "runId": None}
    for body, path in (
        ({"scope": "mars", "reason": "so"}, "scope"),
        ({"scope": "erp", "reason": "so", "epoch": 1}, "epoch"),
        ({"scope": "erp", "reason": " "}, "reason"),
        ({"scope": "erp"}, ""),
    ):
        answer = await operator.post("/v1/epochs", json=body)
        assert answer.status_code == 422
        assert problem_in(answer)["errors"][0]["path"].startswith(path)
    answer = await operator.post("/v1/epochs:dismiss", json={"source": "erp", "reason": "so"})
    assert (answer.status_code, problem_in(answer)["errors"][0]["path"]) == (422, "source")


async def test_operators_dismiss_over_http(shop: Shop, operator: httpx2.AsyncClient) -> None:
    """The alarm is dismissed, with the token's name."""
    async with shop.store.coordination.fold_transaction("pricing") as folding:
        await folding.save_streaks({"erp": 3})
    answer = await operator.post("/v1/epochs:dismiss", json={"source": "erp", "domain": "pricing", "reason": "a test"})
    assert (answer.status_code, answer.json()["what"]) == (200, "dismissed")
    assert (await shop.status()).looks_reset == []


# --- events that name their epoch -----------------------------------------------------------------


def test_the_epoch_of_a_line_is_read(store_url: str) -> None:
    """As a number, or null for none; an invalid epoch is rejected by name, and a repeated key as well."""
    validator = EventValidator(configured(store_url))
    assert parse_event(line_in(3, stock(1))).epoch == 3
    assert parse_event(line_in(None, stock(1))).epoch is None
    assert validator.validate(parse_event(line_in(0, stock(1)))).originator_version == 1
    for epoch in ("1", 1.5, -1, 512, 1024, True):
        with pytest.raises(Rejected, match="epoch"):
            validator.validate(parse_event(line_in(epoch, stock(1))))
    with pytest.raises(Rejected, match="epoch"):
        parse_event(b'{"epoch":1,' + line_in(2, stock(1))[1:])


async def test_posted_events_name_epochs(shop: Shop, operator: httpx2.AsyncClient) -> None:
    """In Pagefold's own format and as CloudEvents, structured and binary; an invalid one by its name in that format."""
    cloud = {
        "specversion": "1.0",
        "id": "1",
        "source": "wms-a",
        "type": "inventory",
        "subject": SKU,
        "time": "2026-01-01T00:00:00Z",
        "sequence": "2",
        "data": {"available": 2},
    }
    headers = {"content-type": "application/cloudevents+json"}
    results = [
        await operator.post("/v1/events", content=line_in(1, stock(1)), headers={"content-type": "application/json"}),
        await operator.post("/v1/events", json=cloud | {"epoch": 2}, headers=headers),
        await operator.post("/v1/events", json=cloud | {"epoch": "3"}, headers=headers),
    ]
    assert [each.status_code for each in results] == [202] * 3
    assert [each for each in await versions(shop) if each > 1] == [versioned(1, 1), versioned(2, 2), versioned(3, 2)]
    for wrong in ("x", 512, 1024, True, 1.5):
        answer = await operator.post("/v1/events", json=cloud | {"epoch": wrong}, headers=headers)
        assert (answer.status_code, answer.json()["results"][0]["path"]) == (422, "epoch")


def test_the_description_has_epochs() -> None:
    """OpenAPI describes the field, the extension, its header, and the operations."""
    described: dict[str, Any] = msgspec.json.decode(document(ROUTES))
    schemas = described["components"]["schemas"]
    assert schemas["Event"]["properties"]["epoch"]["anyOf"][0] == {"type": "integer", "minimum": 0, "maximum": 511}
    assert "epoch" in schemas["CloudEvent"]["properties"]
    names = [each["name"] for each in described["paths"]["/v1/events"]["post"]["parameters"]]
    assert "ce-epoch" in names
    assert {"get", "post"} <= described["paths"]["/v1/epochs"].keys()


async def test_files_and_pipes_name_epochs(config: Config, tmp_path: Path) -> None:
    """Lines of a file, compressed too, mixed with lines without an epoch."""
    lines = [as_line(stock(1, version=5)), line_in(1, stock(2, version=1)), as_line(stock(3, version=2))]
    file = tmp_path / "events.ndjson.gz"
    file.write_bytes(gzip.compress(b"\n".join(lines)))
    async with pagefold.open(config) as shop:
        await append(shop, *[parse_event(line) for line in gzip.decompress(file.read_bytes()).splitlines()])
        assert [each for each in await versions(shop) if each] == [5, versioned(1, 1), versioned(1, 2)]


@pytest.mark.parametrize("step", [1, -1])
@pytest.mark.parametrize("rows", [3, 40])
async def test_rows_name_epochs(store_url: str, tmp_path: Path, rows: int, step: int) -> None:
    """Rows of a snapshot too, whatever their templates and order; a second run finds them equal."""
    config = with_snapshots(store_url, tmp_path, "wms-a")
    said = [stock(number, version=number + 1, sku=f"S{number:03}") for number in range(rows)]
    export_lines(config, "wms-a", [line_in(2, each) for each in said[::step]])
    async with pagefold.open(config) as shop:
        await append(shop, *(stock(99, version=99, sku=each.sku) for each in said))
        async with shop.rebuilds() as rebuilds:
            assert (await rebuilds.rebuild("wms-a")).counts.as_dict() == {"rows": rows, "newer": rows}
            assert (await rebuilds.rebuild("wms-a")).counts.as_dict() == {"rows": rows, "equal": rows}
        newest = await shop.store.log.newest_versions([stream_of(each) for each in said])
        assert newest == {stream_of(each): versioned(2, each.source_version) for each in said}
        await append(shop, stock(7, version=50, sku=said[0].sku))
        assert (await versions(shop))[-1] == versioned(2, 50)


async def test_columns_give_epochs(store_url: str, tmp_path: Path) -> None:
    """A CSV file has a column of epochs, as of versions; an empty cell is none."""
    config = with_snapshots(store_url, tmp_path, "wms-a")
    settings = config.sources["wms-a"].snapshot
    assert settings is not None
    file = tmp_path / "stock.csv"
    file.write_text(
        "sku,sourceVersion,occurredAt,payload.available,epoch\n"
        "A,1,2026-01-01T00:00:00Z,5,4\nB,1,2026-01-01T00:00:00Z,5,\n"
    )
    sources = {**config.sources}
    sources["wms-a"] = msgspec.structs.replace(
        sources["wms-a"], snapshot=msgspec.structs.replace(settings, file=str(file))
    )
    async with pagefold.open(msgspec.structs.replace(config, sources=sources)) as shop:
        async with shop.rebuilds() as rebuilds:
            assert (await rebuilds.rebuild("wms-a")).counts.missing == 2
        newest = await shop.store.log.newest_versions([f"{sku}/*/inventory/wms-a" for sku in "AB"])
        assert sorted(newest.values()) == [1, versioned(4, 1)]
