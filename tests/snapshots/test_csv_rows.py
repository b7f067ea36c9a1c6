"""Snapshots in CSV files: records as events, records of a contract, and invalid CSV."""

import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tracemalloc import get_traced_memory, start, stop
from typing import Any

import pytest

from pagefold.engine.errors import ConfigurationError, Rejected, SourceFailed
from pagefold.engine.events import DomainEvent
from pagefold.engine.intake import input_files
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.snapshots.snapshot import End
from tests.support.snapshot_fixtures import TAKEN_AT, Read, configured, payload_of, read, written

COMPLETE = End(complete=True)
HEADER = "sku,sourceVersion,occurredAt,payload.currency,payload.amount"
RECORD = "A,1,2026-01-01T00:00:00Z,EUR,149.90"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The snapshot's address, as CSV."""
    return tmp_path / "prices.csv"


def records(*lines: str, header: str = HEADER) -> str:
    """A table with these records and an end marker."""
    return "\n".join([header, *lines, f"#end,{len(lines)}"]) + "\n"


async def read_table(table: Path, text: str, domains: Sequence[str] = ("pricing",), **settings: object) -> Read:
    """Reads a CSV file with this text."""
    written(table, text)
    return await read(configured(domains, file=str(table), **settings))


async def test_columns_named_like_fields_need_no_configuration(table: Path) -> None:
    """A header of field names suffices, in any order; the end marker counts the records."""
    found = await read_table(table, records(RECORD, RECORD.replace("A,1", "B,2")))
    assert found.end == COMPLETE
    first, second = found.events
    assert (first.type, first.sku, first.channel, first.source, first.source_version) == ("pricing", "A", "*", "erp", 1)
    assert first.occurred_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert first.payload == b'{"currency":"EUR","amount":"149.90"}'
    assert (second.sku, second.source_version) == ("B", 2)


PRICES = {
    "sku": "ITEM_NO",
    "sourceVersion": "CHANGE_NO",
    "occurredAt": "CHANGED",
    "pricing": {"amount": "PRICE", "currency": {"constant": "EUR"}, "taxIncluded": {"constant": True}},
}
"""The contract of an export of prices."""


async def test_columns_are_read_by_a_contract(table: Path) -> None:
    """What the contract names gives its field, a constant is the same in each row, and other columns are ignored."""
    header = "note;ITEM_NO;CHANGE_NO;mass;PRICE;CHANGED"
    contract = {**PRICES, "channel": {"constant": "web"}, "correlationId": {"constant": "7"}}
    text = records("x;A;7;1,5;149.90;2026-01-01T00:00:00+02:00", header=header)
    [event] = (found := await read_table(table, text, contract=contract)).events
    assert (event.sku, event.source_version, event.channel, event.correlation_id) == ("A", 7, "web", "7")
    assert payload_of(event) == {"amount": "149.9", "currency": "EUR", "taxIncluded": True}
    assert found.end == COMPLETE


@pytest.mark.parametrize("delimiter", [None, ";"])
@pytest.mark.parametrize("start", ["", "sep=;\n", "\ufeff", "\ufeffsep=;\r\n", "\n\n"])
async def test_a_table_as_a_spreadsheet_writes_it(start: str, delimiter: str | None, table: Path) -> None:
    """The delimiter is that of the header or of `sep=`; columns without a name, or with the same one, are ignored."""
    text = start + records("00123;1;19,90;2026-01-01T00:00:00Z;a;b;;", header="ITEM_NO;CHANGE_NO;PRICE;CHANGED;N;N;;")
    found = await read_table(table, text, contract={**PRICES, "decimal": ","}, delimiter=delimiter)
    [event] = found.events
    assert (event.sku, payload_of(event)["amount"], found.end) == ("00123", "19.9", COMPLETE)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
async def test_utf_16_is_named(encoding: str, table: Path) -> None:
    """The error says what the file is, and what to do."""
    written(table, records(RECORD).encode(encoding))
    with pytest.raises(SourceFailed, match="UTF-16"):
        await read(configured(file=str(table), contract=PRICES))


async def test_rows_are_numbered_as_in_the_file(table: Path) -> None:
    """A row may make several statements, none, or a refusal: an end marker counts rows."""
    rows = ["A,1.00,2.00,x", "B,,3.00,x", "C,4.00,5.00,y", "D,n/a,6.00,x"]
    prices = [{"channel": {"constant": name}, "amount": {"from": name, "money": "EUR"}} for name in ("web", "*")]
    contract = {"sku": "sku", "versions": "none", "blanks": "withdraw", "only": {"kind": ["x"]}, "pricing": prices}
    found = await read_table(table, records(*rows, header="sku,web,*,kind"), contract=contract)
    events = [(row.number, row.event) for row in found.rows if isinstance(row.event, DomainEvent)]
    assert [(number, each.sku, each.channel, each.payload) for number, each in events] == [
        (1, "A", "web", b'{"amount":"1.00"}'),
        (1, "A", "*", b'{"amount":"2.00"}'),
        (2, "B", "web", None),
        (2, "B", "*", b'{"amount":"3.00"}'),
        (4, "D", "*", b'{"amount":"6.00"}'),
    ]
    assert found.refused == {4: "pricing.amount: `web`: 'n/a' is not a number (money); SKU D"}
    assert found.end == COMPLETE


async def test_when_a_table_was_taken(table: Path) -> None:
    """`@taken` is the time of the begin marker, else that of the file."""
    contract = {"sku": "sku", "versions": "moment", "sourceVersion": "@taken", "pricing": {"amount": "price"}}
    for marker, taken_at in ((f"#begin,{TAKEN_AT}\n", TAKEN_AT), ("", "2026-01-02T02:00:00Z")):
        written(table, f"sku,price\n{marker}A,1.00\n#end,1\n")
        moment = datetime(2026, 1, 2, 2, tzinfo=UTC).timestamp()
        os.utime(table, (moment, moment))
        [event] = (await read(configured(file=str(table), contract=contract))).events
        assert event.occurred_at == datetime.fromisoformat(taken_at)
        assert event.source_version == int(event.occurred_at.timestamp()) * 1_000_000


VALUES = [
    ("inventory", "available", "12", 12),
    ("inventory", "available", "-3", -3),
    ("inventory", "available", "0012", 12),
    ("inventory", "available", "12.00", 12),
    ("inventory", "available", "12.5", "12.5"),
    ("inventory", "available", "many", "many"),
    ("inventory", "available", "123456789012345678901234567890", 123456789012345678901234567890),
    ("inventory", "backorderable", "true", True),
    ("inventory", "backorderable", "0", False),
    ("inventory", "backorderable", "perhaps", "perhaps"),
    ("inventory", "restockAt", "20260101", "20260101"),
    ("pricing", "amount", "149.90", "149.90"),
    ("pricing", "amount", "150", "150"),
    ("pricing", "compareAt", "null", "null"),
    ("pricing", "tiers", '[{"minQuantity": 10, "amount": "1.50"}]', [{"minQuantity": 10, "amount": "1.50"}]),
    ("pricing", "tiers", "[10", "[10"),
    ("pricing", "customerGroups.b2b", "99.00", {"b2b": "99.00"}),
    ("catalog", "attributes.weight", "12", {"weight": "12"}),
    ("catalog", "attributes.size.eu", "[12]", {"size": {"eu": "[12]"}}),
    ("catalog", "categories", '["a", "b"]', ["a", "b"]),
]


@pytest.mark.parametrize(("domain", "path", "cell", "value"), VALUES)
async def test_a_cell_has_the_type_of_its_field(domain: str, path: str, cell: str, value: object, table: Path) -> None:
    """Integers, booleans and JSON as the domain's types require; text for a text; else the cell unchanged."""
    quoted = cell.replace('"', '""')
    line = f'A,1,2026-01-01T00:00:00Z,"{quoted}"'
    header = f"sku,sourceVersion,occurredAt,payload.{path}"
    [event] = (await read_table(table, records(line, header=header), [domain])).events
    payload = payload_of(event)
    assert payload == {path.partition(".")[0]: value}
    assert type(payload[path.partition(".")[0]]) is type(value)


async def test_an_empty_cell_is_left_out(table: Path) -> None:
    """A missing value is neither zero nor an empty text: required fields are rejected by name, others absent."""
    header = f"{HEADER},payload.compareAt,id"
    found = await read_table(table, records(f"{RECORD},,", ",1,,,,,", "A,,2026-01-01T00:00:00Z,EUR,1,,", header=header))
    first = found.rows[0].event
    assert isinstance(first, DomainEvent)
    assert (first.id, first.payload) == (None, b'{"currency":"EUR","amount":"149.90"}')
    assert found.refused == {2: "sku: is required", 3: "sourceVersion: is required"}


@pytest.mark.parametrize(
    ("cell", "payload"),
    [('{"currency":"EUR"}', b'{"currency":"EUR"}'), (" null ", None), ("not JSON", b"not JSON")],
)
async def test_a_column_may_have_the_complete_payload(cell: str, payload: bytes | None, table: Path) -> None:
    """As JSON; `null` withdraws, and invalid JSON is rejected by the validator."""
    quoted = cell.replace('"', '""')
    line = f'A,1,2026-01-01T00:00:00Z,"{quoted}"'
    [event] = (await read_table(table, records(line, header="sku,sourceVersion,occurredAt,payload"))).events
    assert event.payload == payload


REFUSED = [
    ("A,one,2026-01-01T00:00:00Z,EUR,1", "sourceVersion: expected an integer, got 'one'"),
    ("A,1.5,2026-01-01T00:00:00Z,EUR,1", "sourceVersion: expected an integer, got '1.5'"),
    ("A,1,2026-01-01T00:00:00,EUR,1", "occurredAt: expected `datetime` with a timezone component"),
    ("A,1,01.01.2026,EUR,1", "occurredAt: Invalid RFC3339 encoded datetime"),
    ("A,1,2026-01-01T00:00:00Z,EUR", "has 4 cells; the header has 5"),
    ("A,1,2026-01-01T00:00:00Z,EUR,1,2", "has 6 cells; the header has 5"),
    ('A,1,"2026"-01,EUR,1', "is not CSV: ',' expected after '\"'"),
    ('"A,1', "is not CSV: unexpected end of data"),
    ("A\rB,1,2026-01-01T00:00:00Z,EUR,1", "is not CSV: new-line character seen in unquoted field"),
    ("#end,many", "count: expected the number of rows, got 'many'"),
    ("#end,1,2026", "takenAt: Invalid RFC3339 encoded datetime"),
    ("#begin,2026-01-01T00:00:00Z", "is a begin marker, which must come before the first row"),
    ("#end,1,2026-01-01T00:00:00Z,2", "has more cells than belong to #end"),
]


@pytest.mark.parametrize(("line", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
async def test_a_record_that_is_rejected(line: str, reason: str, table: Path) -> None:
    """The reason names the event's field; the records around it are read."""
    found = await read_table(table, f"{HEADER}\n{RECORD}\n{line}\n")
    assert not isinstance(found.rows[0].event, Rejected)
    assert found.refused[2].startswith(reason)


async def test_an_invalid_payload_is_rejected_by_the_validator(table: Path) -> None:
    """An event is made all the same, so that its stream is known; the validator's error names the column's field."""
    config = configured(["inventory"], file=str(table))
    header = "sku,sourceVersion,occurredAt,payload.available"
    written(table, records("A,1,2026-01-01T00:00:00Z,many", header=header))
    [event] = (await read(config)).events
    with pytest.raises(Rejected, match=r"payload.available: expected `int \| null`, got `str`"):
        EventValidator(config).validate(event)


async def test_quotes_and_lines_inside_of_cells(table: Path) -> None:
    """RFC 4180: a quoted cell may contain separators, newlines and doubled quotes. Lines may end in CR LF."""
    cell = 'a "quoted", ;\r\nsecond\n\nlast'
    quoted = cell.replace('"', '""')
    first = f'"A,B",1,2026-01-01T00:00:00Z,EUR,1,"{quoted}"'
    text = "\r\n".join([f"{HEADER},id", first, "", "C,1,2026-01-01T00:00:00Z,EUR,1,", "#end,2", ""])
    written(table, b"\xef\xbb\xbf" + text.encode())
    found = await read(configured(file=str(table)))
    assert [(each.sku, each.id) for each in found.events] == [("A,B", cell), ("C", None)]
    assert found.end == COMPLETE


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it needs a header"),
        ("\n\n", "it needs a header"),
        (f"{HEADER}\n{RECORD}\n", "has no end marker"),
        (f"{HEADER}\n{RECORD}\n#end,1,,,\n\n", ""),
        (f"{HEADER}\n#begin\n{RECORD}\n#end,1,{TAKEN_AT}", ""),
        (f'{HEADER},id\n{RECORD},\n"#end","1",""', ""),
        (f"{HEADER}\n{RECORD}\n#end,2\n", "counts 2 rows; it has 1"),
        (f"{HEADER}\n{RECORD}\n#end,1\n{RECORD}\n", "continues after its end marker"),
    ],
)
async def test_how_a_table_ends(text: str, reason: str, table: Path) -> None:
    """A table is complete only with its end marker."""
    found = await read_table(table, text)
    assert found.end is not None
    assert found.end.complete == (not reason)
    assert reason in found.end.reason


@pytest.mark.parametrize(
    ("header", "settings", "problem"),
    [
        ("ITEM_NO,CHANGED,PRISE", {"contract": PRICES},
         "no record has `CHANGE_NO` and `PRICE`, which the contract reads for pricing; did you mean `CHANGED` and"),
        ("ITEM_NO,CHANGE_NO,CHANGED,PRICE,PRICE", {"contract": PRICES}, "has two columns named 'PRICE'"),
        ("sku,sourceVersion,occurredAt", {}, "has no column 'payload'; it has sku, sourceVersion, occurredAt"),
        (f"{HEADER},colour", {}, "its column 'colour' is not a field of an event"),
        (f"{HEADER},payload.colour", {}, "its column 'payload.colour' is not a field of the pricing payload"),
        (f"{HEADER},sku", {}, "has two columns named 'sku'"),
        (f"type,{HEADER}", {"constants": {"type": "pricing"}},
         "has a column 'type', which is also in sources.erp.snapshot.constants"),
        ('"sku', {}, "its header cannot be read"),
    ],
)  # fmt: skip
async def test_a_header_that_does_not_fit(header: str, settings: dict[str, Any], problem: str, table: Path) -> None:
    """Nothing is read of a table without the configured columns; the error names those of the header."""
    with pytest.raises(SourceFailed, match=re.escape(problem)):
        await read_table(table, f"{header}\n", **settings)


async def test_constants_beside_a_contract(table: Path) -> None:
    """The contract says what its rows have."""
    with pytest.raises(ConfigurationError) as caught:
        await read_table(table, "", contract=PRICES, constants={"type": "pricing"})
    assert caught.value.key == "sources.erp.snapshot.constants"


async def test_an_unclosed_quote_takes_no_memory(table: Path) -> None:
    """The rest belongs to one record, which is rejected for its length; nothing of it is read as rows."""
    line = "x" * 999 + "\n"
    written(table, f'{HEADER}\n{RECORD}\nA,"{line * 50_000}{records(RECORD)}')
    start()
    try:
        found = await read(configured(file=str(table)))
        _, peak = get_traced_memory()
    finally:
        stop()
    assert found.refused.keys() == {2}
    assert "at most 1048576 are allowed" in found.refused[2]
    assert found.end == End(complete=False, reason="has no end marker")
    assert peak < 20_000_000


async def test_a_record_that_is_too_long_ends_where_its_quotes_do(table: Path) -> None:
    """Of one line or many, it is one rejected row, and the next record is read."""
    many, one = "\n".join(["x" * 99] * 12_000), "y" * 1_200_000
    written(table, records(RECORD, f'A,"{many}",x', RECORD, f'"{one}', f'{RECORD}",1,2,3,4', RECORD))
    found = await read(configured(file=str(table)))
    assert [row.number for row in found.rows if isinstance(row.event, Rejected)] == [2, 4]
    assert found.end == End(complete=False, reason="its end marker counts 6 rows; it has 5")


async def test_a_cell_may_be_as_long_as_an_event(table: Path) -> None:
    """The parser's own limit of 128 KiB does not hold."""
    long = "x" * 500_000
    [event] = (await read_table(table, records(f"{RECORD},{long}", header=f"{HEADER},id"))).events
    assert event.id == long


async def test_text_in_another_encoding_is_rejected(table: Path) -> None:
    """A record that is not UTF-8 is rejected, the others are read."""
    written(table, records(RECORD, RECORD.replace("A", "Ä"), RECORD).encode("latin-1"))
    found = await read(configured(file=str(table)))
    assert (found.refused, found.end) == ({2: "is not UTF-8: line 3 has the byte 0xc4"}, COMPLETE)


@pytest.mark.parametrize(
    "encoding", ["cp1252", "windows-1252", "UTF-16", "utf-16-le", "utf-32", "gb18030", "utf_8_sig"]
)
@pytest.mark.parametrize("read_bytes", [1, 128 * 1024])
async def test_an_encoding_by_its_name(
    table: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, read_bytes: int
) -> None:
    """Texts are the same in any, also where a character is cut between two reads; a pass resumes after a line."""
    monkeypatch.setattr(input_files, "READ_BYTES", read_bytes)
    plain = records(RECORD.replace("A", "ÄÖ€"), RECORD.replace("A,", '"é ""ß""",'), RECORD)
    written(table, plain)
    expected = await read(configured(file=str(table)))
    assert [event.sku for event in expected.events] == ["ÄÖ€", 'é "ß"', "A"]
    written(table, plain.encode(encoding))
    settings = configured(file=str(table), encoding=encoding)
    found = await read(settings)
    assert (found.rows, found.end) == (expected.rows, COMPLETE)
    resumed = await read(settings, cursor={"line": 2, "rows": 1})
    assert [event.sku for event in resumed.events] == ['é "ß"', "A"]


@pytest.mark.parametrize(
    ("encoding", "text", "problem"),
    [
        ("cp1252", b"\x81", "is not cp1252: line 3 has the byte 0x81"),
        ("ascii", "ä".encode(), "is not ascii: line 3 has the byte 0xc3"),
        ("gb18030", b"\xff", "is not gb18030: line 3 has the byte 0xff"),
        ("utf-16-le", b"\x00\xdcA\x00", "is not utf-16-le: line 3 has the byte 0x00"),
    ],
)
async def test_a_byte_that_is_no_character(table: Path, encoding: str, text: bytes, problem: str) -> None:
    """The record is refused with its line and the byte, and nothing stands in for it; the others are read."""
    before, after = records(RECORD, RECORD.replace("A", "@"), RECORD).split("@")
    written(table, before.encode(encoding) + text + after.encode(encoding))
    found = await read(configured(file=str(table), encoding=encoding))
    assert (found.refused, found.end) == ({2: problem}, COMPLETE)
    assert [row.number for row in found.rows if isinstance(row.event, DomainEvent)] == [1, 3]


async def test_a_file_that_is_cut_inside_a_character(table: Path) -> None:
    """What is left of the last record is refused, and the end marker is missing."""
    written(table, f"{HEADER}\n{RECORD}\n{RECORD}ä".encode("utf-16")[:-1])
    found = await read(configured(file=str(table), encoding="utf-16"))
    assert found.refused == {2: "is not utf-16: line 3 has the byte 0xe4"}
    assert found.end == End(complete=False, reason="has no end marker")


async def test_a_header_in_another_encoding(table: Path) -> None:
    """Its error says that there is a setting for it."""
    written(table, records(RECORD).encode("utf-16"))
    with pytest.raises(SourceFailed, match="is UTF-16; export it as UTF-8, or give its encoding"):
        await read(configured(file=str(table)))
