"""The same value gives the same event by every entrance: CSV, JSON, SQL, webhook, CDC, CloudEvents."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec
import psycopg
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pagefold import Config, DomainEvent
from pagefold.engine.errors import Rejected
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.formats.request_parts import RejectedPart
from pagefold.engine.intake.readers.cloudevents import CloudEventMessageReader
from pagefold.engine.intake.readers.debezium import DebeziumReader
from pagefold.engine.intake.readers.webhooks import WebhookReader
from pagefold.engine.intake.statement import Statement
from pagefold.engine.snapshots.row import RefusedStatement
from tests.support.databases import query
from tests.support.debezium_messages import envelope
from tests.support.deliveries import found_in
from tests.support.small_shop import Document, document
from tests.support.snapshot_fixtures import read

Outcome: TypeAlias = tuple[object, ...]
"""What a record became: its event, or that it was refused, or left out."""

COLUMNS = {
    "col_t": "text",
    "col_n": "numeric",
    "col_i": "bigint",
    "col_b": "boolean",
    "col_m": "timestamptz",
    "col_d": "date",
}
encode = msgspec.json.Encoder(decimal_format="number").encode
HEAD: Document = {"sku": "sku", "sourceVersion": "v", "occurredAt": {"constant": "2026-03-01T00:00:00Z"}}
TRANSFORMS: Mapping[str, Document] = {
    "text": {"from": "col_t", "text": True},
    "trimmed": {"from": "col_t", "trim": True},
    "clean": {"from": "col_t", "clean": True},
    "upper": {"from": "col_t", "case": "upper"},
    "replaced": {"from": "col_t", "replace": {"texts": {"a": "b"}}},
    "words": {"from": "col_t", "split": " "},
    "joined": {"from": "col_t", "steps": [{"split": ","}, {"join": "|"}]},
    "matched": {"from": "col_t", "regex": {"pattern": "^([a-z]+)"}},
    "html": {"from": "col_t", "html_to_text": True},
    "default": {"from": "col_t", "default": "none"},
    "number": {"from": "col_n", "number": True},
    "decimal": {"from": "col_n", "decimal": True},
    "rounded": {"from": "col_n", "round": 2},
    "text of a number": {"from": "col_n", "text": True},
    "integer": {"from": "col_i", "integer": True},
    "text of an integer": {"from": "col_i", "text": True},
    "looked up": {"from": "col_i", "lookup": {"values": {"1": "one", "2": "two"}}},
    "flag": {"from": "col_b", "boolean": True},
    "moment": {"from": "col_m", "date": True},
    "day of a moment": {"from": "col_m", "date": {"result": "date", "zone": "Europe/Berlin"}},
    "day": {"from": "col_d", "date": {"result": "date"}},
    "first": {"first_of": ["col_t", "col_i"], "steps": ["text"]},
    "computed": {"computed": "{{ col_t }}/{{ col_i }}"},
    "when": {"when": {"value": "col_i", "above": 3, "then": "col_t"}, "steps": ["text"]},
    "weight": {"from": "col_n", "metric": {"unit": "KILOGRAM", "to": "GRAM"}},
    "cents": {"from": "col_i", "money": {"currency": "EUR", "unit": "minor"}},
    "difference": {"difference": ["col_n", "col_i"]},
}
"""Mappings of attributes, by the name of the attribute."""

texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12) | st.sampled_from(
    [" a b ", "a,b, c", "<p>a &amp; b</p>", "12", "true", "é\u0301", "null", '"q"', "=1+1", "0", " "]
)
decimals = st.decimals(-1_000_000, 1_000_000, places=4) | st.sampled_from(
    [Decimal("19.90"), Decimal("0.5"), Decimal("-0.10"), Decimal(100), Decimal("1E+2")]
)
moments = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)).map(lambda each: each.replace(tzinfo=UTC))  # noqa: DTZ001  # UTC is added
records = st.fixed_dictionaries(
    {
        "col_t": st.none() | texts,
        "col_n": st.none() | decimals,
        "col_i": st.none() | st.integers(-5, 2**53) | st.integers(0, 5),
        "col_b": st.none() | st.booleans(),
        "col_m": st.none() | moments,
        "col_d": st.none() | st.dates(),
    }
)


class Case(NamedTuple):
    """A contract, and records that it reads at every entrance."""

    contract: Document
    records: Sequence[Mapping[str, object]]


def as_text(value: object) -> str:
    """A value as an export writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    return "" if value is None else value.isoformat() if hasattr(value, "isoformat") else str(value)


def as_json(value: object) -> object:
    """A value as JSON has it: numbers digit by digit, moments as text."""
    return value.isoformat() if hasattr(value, "isoformat") else value


def numbered(case: Case) -> list[dict[str, object]]:
    """The records, each with its SKU and its version."""
    return [{"sku": f"SKU-{number}", "v": number, **each} for number, each in enumerate(case.records)]


def shop(case: Case, entrance: str, settings: Document) -> Config:
    """A shop whose ERP has one entrance, and the contract."""
    tables = document()
    tables["sources"]["erp"] = {"domains": ["catalog", "pricing"], "contract": case.contract, entrance: settings}
    return Config.parse(tables)


class Entrances:
    """The outcomes of a case, by entrance."""

    def __init__(self, folder: Path, database: str) -> None:
        self._folder = folder
        self._database = database

    async def csv(self, case: Case) -> list[list[Outcome]]:
        """A file with a column for each name."""
        text = io.StringIO()
        writer = csv.writer(text, quoting=csv.QUOTE_ALL)
        writer.writerow(["sku", "v", *COLUMNS])
        writer.writerows([[as_text(each[name]) for name in ("sku", "v", *COLUMNS)] for each in numbered(case)])
        (self._folder / "export.csv").write_text(text.getvalue(), "utf-8", newline="")
        return await self._snapshot(case, {"file": str(self._folder / "export.csv"), "ends": "file"})

    async def json(self, case: Case) -> list[list[Outcome]]:
        """A file with an object in each line."""
        lines = [encode({name: as_json(value) for name, value in each.items()}) for each in numbered(case)]
        (self._folder / "export.ndjson").write_bytes(b"\n".join(lines))
        return await self._snapshot(case, {"file": str(self._folder / "export.ndjson"), "ends": "file"})

    async def sql(self, case: Case) -> list[list[Outcome]]:
        """A table, whose columns have types."""
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        query(self._database, "DROP TABLE IF EXISTS export")
        query(self._database, f"CREATE TABLE export (sku text, v bigint, {columns})")
        with psycopg.connect(self._database, autocommit=True) as connection, connection.cursor() as cursor:
            rows = [[each[name] for name in ("sku", "v", *COLUMNS)] for each in numbered(case)]
            cursor.executemany(b"INSERT INTO export VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", rows)
        return await self._snapshot(case, {"query": "SELECT * FROM export ORDER BY v", "database": self._database})

    async def _snapshot(self, case: Case, settings: Document) -> list[list[Outcome]]:
        config = shop(case, "snapshot", settings)
        found: list[list[Outcome]] = [[] for _ in case.records]
        for row in (await read(config)).rows:
            event = row.event.rejected if isinstance(row.event, RefusedStatement) else row.event
            assert isinstance(event, DomainEvent | Rejected)
            found[row.number - 1].append(outcome(config, event))
        return found

    def webhook(self, case: Case) -> list[list[Outcome]]:
        """A request a record."""
        config = shop(case, "webhook", {"secret_variables": ["SECRET"]})
        reader = WebhookReader(config, "erp")
        bodies = [encode({name: as_json(value) for name, value in each.items()}) for each in numbered(case)]
        return [self._parts(config, reader, body) for body in bodies]

    def cdc(self, case: Case) -> list[list[Outcome]]:
        """A change a record, without its schema, and with decimals as text."""
        config = shop(case, "cdc", {})
        reader = DebeziumReader(config, "erp")
        rows = [
            {name: as_text(value) if isinstance(value, Decimal) else as_json(value) for name, value in each.items()}
            for each in numbered(case)
        ]
        return [self._parts(config, reader, json.dumps(envelope("c", None, row)).encode()) for row in rows]

    def cloudevents(self, case: Case) -> list[list[Outcome]]:
        """An event a record, whose paths begin with `data`."""
        inside = Case(under_data(case.contract), case.records)
        config = shop(inside, "cloudevents", {"types": ["com.example.item"]})
        reader = CloudEventMessageReader(config, "erp")
        head = {"specversion": "1.0", "id": "1", "source": "/items", "type": "com.example.item"}
        head |= {"time": "2026-03-01T00:00:00Z"}
        bodies = [
            encode({**head, "data": {name: as_json(value) for name, value in each.items()}}) for each in numbered(case)
        ]
        return [self._parts(config, reader, body) for body in bodies]

    def _parts(self, config: Config, reader: object, body: bytes) -> list[Outcome]:
        found: list[Outcome] = []
        for part in found_in(reader, body):  # type: ignore[arg-type]  # one of the readers
            if isinstance(part, RejectedPart):
                found.append(outcome(config, part.rejection))
            elif isinstance(part, Statement):
                found.append(outcome(config, part.event))
        return found


def under_data(contract: object) -> Document:
    """The contract, with paths that begin with `data`."""
    names = ("sku", "v", *COLUMNS)

    def moved(value: object, key: str = "") -> object:
        if isinstance(value, str) and value in names and key not in {"constant", "unit", "find", "with", "default"}:
            return f"data.{value}"
        if isinstance(value, str) and key == "computed":
            return value.replace("{{ col_t }}", "{{ data.col_t }}").replace("{{ col_i }}", "{{ data.col_i }}")
        if isinstance(value, list):
            return [moved(each, key) for each in value]
        if isinstance(value, dict):
            return {f"data.{name}" if key == "only" else name: moved(each, name) for name, each in value.items()}
        return value

    made = moved(contract)
    assert isinstance(made, dict)
    return made


def outcome(config: Config, found: DomainEvent | Rejected) -> Outcome:
    """What is stored, or that it is refused. Ids and reasons may differ."""
    if isinstance(found, Rejected):
        return ("refused",)
    try:
        valid = EventValidator(config).validate(msgspec.structs.replace(found, id=None))
    except Rejected:
        return ("refused",)
    return valid.originator_id, valid.originator_version, valid.content, valid.occurred_at


prices = st.sampled_from(["col_n", "col_i", {"from": "col_n", "default": "1.00"}])
filters = st.sampled_from([{}, {"col_b": [True]}, {"col_i": [1, 2, 3]}, {"col_t": ["12", "true"]}])


@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.reuse, Phase.generate],  # each example takes long: a simpler one is not looked for
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    rows=st.lists(records, min_size=1, max_size=12),
    names=st.lists(st.sampled_from(sorted(TRANSFORMS)), min_size=1, max_size=8, unique=True),
    price=prices,
    only=filters,
)
async def test_the_same_value_gives_the_same_event(
    rows: list[dict[str, object]],
    names: list[str],
    price: object,
    only: Document,
    tmp_path: Path,
    postgres_url: str,
) -> None:
    """Text, numbers, flags, moments and days, blank ones too, through every kind of transform."""
    attributes = {name: TRANSFORMS[name] for name in names}
    pricing = {"currency": {"constant": "EUR"}, "amount": price}
    case = Case(HEAD | {"catalog": {"only": only, "attributes": attributes}, "pricing": pricing}, rows)
    entrances = Entrances(tmp_path, postgres_url)
    found = {
        "CSV": await entrances.csv(case),
        "SQL": await entrances.sql(case),
        "webhook": entrances.webhook(case),
        "CDC": entrances.cdc(case),
        "CloudEvents": entrances.cloudevents(case),
    }
    expected = await entrances.json(case)
    for entrance, outcomes in found.items():
        for row, one, other in zip(rows, outcomes, expected, strict=True):
            assert sorted(one) == sorted(other), (entrance, row, attributes)
