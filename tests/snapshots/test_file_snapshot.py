"""Snapshots in files: rows, end markers, and that a truncated file is never complete."""

import gzip
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from tracemalloc import get_traced_memory, start, stop
from typing import TypeAlias

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefold.engine.errors import ConfigurationError, SourceFailed
from pagefold.engine.intake.event_parser import MAX_EVENT_BYTES
from pagefold.engine.intake.input_files import decompress
from pagefold.engine.snapshots import line_rows, open_snapshot
from pagefold.engine.snapshots.json_rows import RowCounter
from pagefold.engine.snapshots.line_rows import MAX_RUN_LINES, FileToRead, JSONLines, LineCursor, NDJSONReading
from pagefold.engine.snapshots.row import Row
from pagefold.engine.snapshots.snapshot import BATCH_ROWS, End
from tests.support.command_line import event
from tests.support.snapshot_fixtures import BEGIN, TAKEN_AT, Read, configured, ndjson, parsed, prices, read, written

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def zstd_checked(content: bytes) -> bytes:
    """Compressed as by the command of that name, with a checksum."""
    return zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1})


COMPLETE = End(complete=True)
Pack: TypeAlias = Callable[[bytes], bytes]
HEADER = "sku,sourceVersion,occurredAt,payload.currency,payload.amount"
RECORD = "A,1,2026-01-01T00:00:00Z,EUR,149.90"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The snapshot's path."""
    return tmp_path / "prices.ndjson"


# --- NDJSON ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd.compress], ids=["plain", "gzip", "zstd"])
async def test_a_snapshot_is_read_to_its_end(pack: Pack, file: Path) -> None:
    """Every row is read once, numbered, in batches; markers say when it was taken, and that it is complete."""
    content = pack(ndjson(prices(24_690)))
    written(file, content)
    found = await read(configured(file=str(file)))
    assert [row.number for row in found.rows] == list(range(1, 24_691))
    assert [each.sku for each in found.events] == [f"SKU-{number:05}" for number in range(24_690)]
    *full, _ = [len(batch.rows) for batch in found.batches]
    assert len(full) == 2
    assert all(BATCH_ROWS - MAX_RUN_LINES < rows <= BATCH_ROWS for rows in full)
    assert (found.end, found.taken_at) == (COMPLETE, datetime(2026, 11, 23, 2, tzinfo=UTC))
    assert found.batches[-1].done == found.batches[-1].total == len(content)


async def test_the_identity_of_a_file(file: Path) -> None:
    """Its identity is its path, size and modification time; the latter is when it was written."""
    written(file, ndjson(prices(1)))
    os.utime(file, (1_700_000_000, 1_700_000_000))
    config = configured(file=str(file))
    async with open_snapshot(config, "erp") as snapshot:
        assert (snapshot.name, snapshot.unit) == (str(file), "bytes")
        assert snapshot.written_at == datetime.fromtimestamp(1_700_000_000, UTC)
        identity = snapshot.identity
        written(file, ndjson(prices(2)))
        with pytest.raises(SourceFailed, match="was replaced"):
            [batch async for batch in snapshot.batches()]
    async with open_snapshot(config, "erp") as snapshot:
        assert snapshot.identity != identity


async def test_unreadable_files(tmp_path: Path) -> None:
    """A missing file, a folder, and a pipe fail when the snapshot is opened."""
    os.mkfifo(tmp_path / "pipe.ndjson")
    (tmp_path / "folder.ndjson").mkdir()
    for name, problem in (("none", "No such file"), ("folder", "is a folder"), ("pipe", "is not a regular file")):
        with pytest.raises(SourceFailed, match=problem) as caught:
            await read(configured(file=str(tmp_path / f"{name}.ndjson")))
        assert caught.value.name == str(tmp_path / f"{name}.ndjson")


async def test_unconfigured_snapshots() -> None:
    """A source without a snapshot, and an unknown source, are errors of the configuration."""
    for source in ("pim", "wms"):
        with pytest.raises(ConfigurationError, match=f"sources.{source}"):
            async with open_snapshot(configured(file="a.csv"), source):
                pass


async def test_a_row_may_leave_out_constants(file: Path) -> None:
    """A missing source, type or channel is filled in, in any mixture of rows; the rest is unchanged."""
    parsed = event(channel="*")
    names = ("source", "type", "channel")
    rows = [
        {
            key: value
            for key, value in parsed.items()
            if key not in {name for bit, name in enumerate(names) if mask >> bit & 1}
        }
        for mask in [*range(8), 7, 7, 0, 3, 7]
    ]
    written(file, ndjson([*rows, b"  " + orjson.dumps(rows[-1])]))
    found = await read(configured(file=str(file)))
    assert set(map(msgspec.json.encode, found.events)) == {msgspec.json.encode(found.events[0])}
    assert (len(found.rows), found.end) == (14, COMPLETE)


async def test_the_type_is_required_for_several_domains(file: Path) -> None:
    """A source of several domains must name it."""
    bare = {key: value for key, value in event().items() if key != "type"}
    written(file, ndjson([bare, event()]))
    found = await read(configured(["pricing", "inventory"], file=str(file)))
    assert found.refused == {1: "type: is required"}


async def test_rejected_rows_count(file: Path) -> None:
    """An invalid row is rejected in its place, with the validator's reason; the count has all rows."""
    bare = {"sku": "A", "sourceVersion": 1, "occurredAt": TAKEN_AT, "payload": None}
    rows: list[object] = [
        b"nonsense",
        b"[]",
        b"{}",
        b"x" * (MAX_EVENT_BYTES + 100),
        b"\xff\xfe",
        event(source="pim"),
        event(colour="red"),
        bare | {"sourceVersion": "1"},
        b'{"source":"erp",' + orjson.dumps(event())[1:],
        orjson.dumps(bare)[:-1] + b',"sku":"B"}',
        bare,
    ]
    written(file, ndjson(rows))
    found = await read(configured(file=str(file)))
    assert found.end == COMPLETE
    assert list(found.refused) == list(range(1, 11))
    reasons = [
        "JSON is malformed",
        "expected `object`, got `array`",
        "type: is required",
        f"has {MAX_EVENT_BYTES + 100} bytes",
        "JSON is malformed",
        "source: 'pim': this is the snapshot of 'erp'",
        "colour: unknown field",
        "sourceVersion: expected `int`, got `str`",
        "the key 'source' is repeated",
        "the key 'sku' is repeated",
    ]
    for reason, actual in zip(reasons, found.refused.values(), strict=True):
        assert reason.lower() in actual.lower()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "has no end marker"),
        (ndjson(prices(3)).removesuffix(b"\n"), ""),
        (b"\xef\xbb\xbf\n" + ndjson(prices(3)).replace(b"\n", b"\r\n \n") + b"\n\n", ""),
        (ndjson(prices(3), begin=None), ""),
        (ndjson([]), ""),
        (ndjson(prices(3)) + b"x", "continues after its end marker"),
        (ndjson(prices(3)) + ndjson(prices(3)), "continues after its end marker"),
        (ndjson(prices(3)).replace(b'"count":3', b'"count":4'), "counts 4 rows; it has 3"),
        (ndjson(prices(3)).replace(b'"count":3', b'"count":2'), "counts 2 rows; it has 3"),
        (ndjson(prices(3)).replace(b'"count":3', b'"count":"3"'), "has no end marker"),
        (ndjson(prices(3)).replace(b'"count":3', b'"count":3,"rows":3'), "has no end marker"),
        (ndjson(prices(3)).replace(b'"count":3', b'"count":3,"count":3'), "has no end marker"),
        (ndjson(prices(3)).replace(b',"count":3', b""), "has no end marker"),
        (ndjson(prices(3))[:-2], "has no end marker"),
        (gzip.compress(ndjson(prices(3))) + b"rest", "the gzip data is damaged"),
        (gzip.compress(ndjson(prices(3)))[:-1], "the gzip data ends too early"),
        (zstd.compress(ndjson(prices(3))) + b"rest", "the zstd data is damaged"),
        (zstd.compress(ndjson(prices(3)))[:-1], "the zstd data ends too early"),
        (b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstd.compress(ndjson(prices(3))), ""),
        (zstd.compress(ndjson(prices(3))[:100]) + zstd.compress(ndjson(prices(3))[100:]), ""),
    ],
)
async def test_how_a_snapshot_ends(content: bytes, reason: str, file: Path) -> None:
    """A snapshot is complete only with an end marker after all rows, with their count and nothing after it."""
    written(file, content)
    found = await read(configured(file=str(file)))
    assert found.end is not None
    assert found.end.complete == (not reason)
    assert reason in found.end.reason


async def test_markers_in_the_wrong_place_are_rejected(file: Path) -> None:
    """A begin marker after a row is a rejected row, and so is an invalid marker."""
    bad = [b'{"snapshot":"begin","count":3}', b'{"snapshot":"begin","takenAt":"2026-11-23"}', b'{"snapshot":"middle"}']
    written(file, ndjson([*bad, event(), orjson.dumps(BEGIN)], begin=None))
    found = await read(configured(file=str(file)))
    assert (found.end, found.taken_at) == (COMPLETE, None)
    assert list(found.refused) == [1, 2, 3, 5]
    assert "count: belongs to the end marker" in found.refused[1]
    assert found.refused[2].startswith("takenAt: ")
    assert found.refused[3].startswith("snapshot: ")
    assert "before the first row" in found.refused[5]


async def test_the_end_marker_may_say_when(file: Path) -> None:
    """Without a begin marker, the end marker says since when changes may be missing."""
    written(file, ndjson(prices(2), begin=None).replace(b'"count":2', f'"count":2,"takenAt":"{TAKEN_AT}"'.encode()))
    found = await read(configured(file=str(file)))
    assert (found.end, found.taken_at) == (COMPLETE, datetime(2026, 11, 23, 2, tzinfo=UTC))


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
async def test_a_truncated_file_is_never_complete(pack: Pack, file: Path) -> None:
    """Wherever a compressed file is truncated, the rows before are read, and it is not complete."""
    rows = prices(2_000)
    content = pack(ndjson(rows))
    most = 0
    for part in [*range(0, 100, 3), 99.5, 99.9]:
        written(file, content[: min(int(len(content) * part / 100), len(content) - 1)])
        found = await read(configured(file=str(file)))
        assert found.end is not None
        assert not found.end.complete
        assert found.end.reason
        most = max(most, len(found.rows))
    assert most > len(rows) // 2


@pytest.mark.parametrize("pack", [gzip.compress, zstd_checked], ids=["gzip", "zstd"])
async def test_a_damaged_file_is_never_complete_with_other_rows(pack: Pack, file: Path) -> None:
    """A flipped bit anywhere leaves no complete snapshot with other rows."""
    content = bytearray(pack(ndjson(prices(500))))
    good = (await read_content(file, content)).rows
    for place in range(0, len(content), len(content) // 40):
        content[place] ^= 16
        found = await read_content(file, content)
        content[place] ^= 16
        assert found.end is not None
        if found.end.complete:  # it was in the header's file name or time
            assert list(map(str, found.rows)) == list(map(str, good))


async def read_content(file: Path, content: bytes | bytearray) -> Read:
    """Reads a snapshot with this content."""
    written(file, content)
    return await read(configured(file=str(file)))


# --- resuming -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["ndjson", "csv"])
async def test_reading_resumes_after_a_batch(form: str, tmp_path: Path) -> None:
    """The cursor of each batch gives the rest, with its numbers, its time and its end."""
    file = tmp_path / f"prices.{form}"
    if form == "ndjson":
        rows = [*prices(3_000), {"bad": 1}, *prices(19_000)]
        written(file, b"\n" + ndjson(rows).replace(b"}}\n", b"}}\n\n", 50))
    else:
        records = [RECORD.replace("A,", f'"A\n{number}",') for number in range(22_001)]
        written(file, "\n".join([HEADER, f"#begin,{TAKEN_AT}", "", *records, "#end,22001"]))
    parsed = await read(configured(file=str(file)))
    assert (parsed.end, len(parsed.batches), parsed.taken_at is None) == (COMPLETE, 3, False)
    for number, batch in enumerate(parsed.batches, 1):
        rest = await read(configured(file=str(file)), batch.cursor)
        assert [str(row) for row in rest.rows] == [str(row) for later in parsed.batches[number:] for row in later.rows]
        assert (rest.end, rest.taken_at) == (COMPLETE, parsed.taken_at)


async def test_a_snapshot_can_be_read_again(file: Path) -> None:
    """A second pass ends an unfinished first one, and reads everything."""
    written(file, ndjson(prices(20_000)))
    async with open_snapshot(configured(file=str(file)), "erp") as snapshot:
        await anext(snapshot.batches())
        assert sum([len(batch.rows) async for batch in snapshot.batches()]) == 20_000
        assert snapshot.end == COMPLETE


async def test_an_error_of_the_reader_is_not_wrapped(file: Path) -> None:
    """An error inside the block is not wrapped."""
    written(file, ndjson(prices(20_000)))

    async def interrupted() -> None:
        async with open_snapshot(configured(file=str(file)), "erp") as snapshot:
            async for _ in snapshot.batches():
                raise KeyError

    with pytest.raises(KeyError):
        await interrupted()


# --- pieces and bounds ----------------------------------------------------------------------------

PIECES = b"\xef\xbb\xbf" + ndjson([event(), b"nonsense\n\r\n", event("B"), b"\xc3\xa4", event("ä")])


@given(st.sampled_from([bytes, gzip.compress, zstd.compress]), st.lists(st.integers(1, 60), max_size=60))
def test_how_bytes_arrive_does_not_matter(pack: Pack, sizes: list[int]) -> None:
    """Rows are the same however a file's bytes are divided."""
    content = pack(PIECES)

    def pieces() -> Iterator[bytes]:
        rest = content
        for size in sizes:
            yield rest[:size]
            rest = rest[size:]
        yield rest

    assert found_in(iter([content])) == found_in(piece for piece in pieces() if piece)


def found_in(pieces: Iterator[bytes]) -> list[str]:
    """The lines in these pieces."""
    config = configured(file="a.ndjson")
    reading = NDJSONReading(
        FileToRead("a.ndjson", lambda: None), LineCursor(), RowCounter("erp"), JSONLines.of(config, "erp")
    )
    found = reading.found(decompress(pieces, "a.ndjson"))
    several = [each if isinstance(each, list) else [each] for each in found if each is not None]
    return [str(parsed(each) if isinstance(each, Row) else each) for each in chain.from_iterable(several)]


@pytest.mark.parametrize("form", ["ndjson", "csv"])
async def test_a_batch_is_bounded_by_its_bytes(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long rows make short batches."""
    monkeypatch.setattr(line_rows, "MAX_BATCH_BYTES", 100_000)
    file = tmp_path / f"prices.{form}"
    if form == "ndjson":
        written(file, ndjson([event(f"SKU-{number}", id="x" * 5_000) for number in range(100)]))
    else:
        long = "x" * 5_000
        written(file, "\n".join([f"{HEADER},id", *[f"{RECORD},{long}"] * 100, "#end,100"]))
    found = await read(configured(file=str(file)))
    assert (len(found.rows), found.end) == (100, COMPLETE)
    assert max(len(batch.rows) for batch in found.batches) <= 20


async def test_a_small_file_may_hold_a_large_one(file: Path) -> None:
    """A file that is a thousand times as large decompressed is read in bounded memory."""
    written(file, gzip.compress(b" " * 100_000_000 + b"\n" + ndjson(prices(1), begin=None)))
    config = configured(file=str(file))
    start()
    try:
        found = await read(config)
        _, peak = get_traced_memory()
    finally:
        stop()
    assert list(found.refused) == [1]
    assert peak < 10_000_000
