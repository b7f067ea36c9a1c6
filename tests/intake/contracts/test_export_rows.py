"""Exports are read row by row: CSV with any usual delimiter, lines of JSON, one JSON document."""

import gzip
from decimal import Decimal
from pathlib import Path

import pytest

from pagefold.engine.errors import SourceFailed
from pagefold.engine.intake.contracts.export_rows import Damaged, Format, export_rows, format_of


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.csv", "csv"),
        ("a.TSV", "csv"),
        ("a.jsonl.gz", "ndjson"),
        ("x/a.json.zst", "json"),
        ("a.txt", None),
        ("-", None),
    ],
)
def test_the_name_shows_the_format(name: str, expected: Format | None) -> None:
    """Compressed or not."""
    assert format_of(name) == expected


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_rows_of_csv(tmp_path: Path, delimiter: str) -> None:
    """Objects by column; the delimiter is that of the header, and a byte order mark is skipped."""
    file = tmp_path / "a.csv"
    text = 'sku,name,"a b"\nA,"x ""y""\nz",\n\nB,b\nC,c,d\n'.replace(",", delimiter)
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert list(export_rows(str(file), "csv")) == [
        (3, {"sku": "A", "name": 'x "y"\nz', "a b": ""}),
        (5, Damaged("has 2 cells; the header has 3")),
        (6, {"sku": "C", "name": "c", "a b": "d"}),
    ]


def test_json_lines_keep_every_digit(tmp_path: Path) -> None:
    """Damaged lines are reported with their number, and the others are read; compressed files, too."""
    file = tmp_path / "a.ndjson.gz"
    file.write_bytes(gzip.compress(b'{"price":19.90}\n\n{"price":\n[1]\n'))
    first, damaged, last = export_rows(str(file), "ndjson")
    assert first == (1, {"price": Decimal("19.90")})
    assert damaged[0] == 3
    assert isinstance(damaged[1], Damaged)
    assert last == (4, [1])


def test_a_json_document_is_a_list_of_rows_or_one_row(tmp_path: Path) -> None:
    """A page of an API is one row, whose items the contract finds."""
    file = tmp_path / "a.json"
    file.write_text('[{"a":1},{"a":2}]')
    assert list(export_rows(str(file), "json")) == [(1, {"a": 1}), (2, {"a": 2})]
    file.write_text('{"products":[1]}')
    assert list(export_rows(str(file), "json")) == [(1, {"products": [1]})]


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        ("csv", "", "is empty"),
        ("csv", "a;b;a\n1;2;3\n", "two columns named 'a'"),
        ("csv", "a;b;a\n1;2;3\n".encode("utf-16"), "is UTF-16; export it as UTF-8"),
        ("csv", "a;b;a\n1;2;3\n".encode("utf-16-le"), "may be UTF-16"),
        ("json", "{", "is not JSON"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, kind: Format, text: str | bytes, problem: str) -> None:
    """The error names the file and the reason."""
    file = tmp_path / "a"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SourceFailed, match=problem):
        list(export_rows(str(file), kind, columns=["a"]))
    with pytest.raises(SourceFailed, match="No such file"):
        list(export_rows(str(tmp_path / "gone"), kind))
