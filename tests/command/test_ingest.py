"""`pagefold ingest` and `pagefold work`: every form of input, every outcome, signals, and memory."""

import base64
import gzip
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest

from pagefold.engine.errors import Rejected, SourceIncomplete
from pagefold.engine.events import DomainEvent
from pagefold.engine.intake.event_parser import MAX_EVENT_BYTES
from pagefold.engine.intake.input_files import DECOMPRESS_BYTES, decompress
from pagefold.engine.intake.ndjson_reader import MAX_BATCH_LINES, NdjsonReader
from tests.support.command_line import (
    ROOT,
    Ran,
    event,
    finished,
    lines_file,
    ndjson,
    on_sqlite,
    product,
    run_pagefold,
    settle,
    spawn,
    wait_for,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
DATA = Path(os.environ.get("PAGEFOLD_DATA", ROOT.parent / "shared" / "data")) / "sunrise"


@pytest.fixture
def workplace(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a configuration and an empty store, of each kind."""
    return settle(tmp_path, store_url, monkeypatch)


def many(count: int) -> list[dict[str, object]]:
    """This many different events."""
    return [event(f"SKU-{number}") for number in range(count)]


def ingest(*arguments: str) -> Ran:
    """Ingests, with the counts as JSON."""
    return run_pagefold("ingest", "--json", *arguments)


# --- outcomes -------------------------------------------------------------------------------------


def test_every_outcome_is_counted_and_named(workplace: Path) -> None:
    """Each line is counted once; refused ones are named by file, line, path and reason, and make the exit code 1."""
    file = lines_file(
        workplace / "events.ndjson",
        event(),
        event(),
        b"",
        event(amount="9.99"),
        event(version=2, amount=1.5),
        b"nonsense",
        event(version=3, source="wms"),
    )
    ran = ingest(file)
    assert ran.code == 1
    assert ran.counts == {"appended": 1, "duplicate": 1, "conflict": 1, "rejected": 3}
    assert (ran.document["lines"], ran.document["complete"], ran.document["error"]) == (6, True, None)
    conflict, amount, nonsense, source = ran.err.splitlines()
    stream = "A/*/pricing/erp"
    assert conflict == f"{file}:4: version 1 of {stream} is stored with other content; kept as dead letter ingest-1"
    assert amount.startswith(f"{file}:5: payload.amount: expected `str`")
    assert nonsense.startswith(f"{file}:6: JSON is malformed")
    assert source == f"{file}:7: source: unknown source 'wms'; the configuration does not have it"
    again = ingest(file)
    assert again.counts == {"duplicate": 2, "conflict": 1, "rejected": 3}
    assert "ingest-1" in again.err


@on_sqlite
def test_counts_as_text(workplace: Path) -> None:
    """Without `--json` the counts are plain lines; the exit code is 0."""
    ran = run_pagefold("ingest", lines_file(workplace / "events.ndjson", event()))
    assert ran.code == 0
    assert [line.split() for line in ran.out.splitlines()] == [
        ["outcome", "lines"],
        ["appended", "1"],
        ["duplicate", "0"],
        ["conflict", "0"],
        ["rejected", "0"],
    ]
    assert ran.err.startswith("1 line in ")


@on_sqlite
def test_only_the_first_refusals_are_shown(workplace: Path) -> None:
    """Ten are shown, the others are counted."""
    ran = ingest(lines_file(workplace / "events.ndjson", *[b"{}"] * 25))
    assert len(ran.err.splitlines()) == 11
    assert ran.err.endswith("… and 15 more refusals; --rejects FILE keeps them all\n")


@on_sqlite
def test_rejects_have_every_refused_line_verbatim(workplace: Path) -> None:
    """`--rejects` gets the text of each line, base64 if it is not UTF-8, and neither if it is too long."""
    lines = [b'{"a": 1}  ', b"\xff\xfe", b"x" * (MAX_EVENT_BYTES + 100), *[b"[]"] * 12]
    file = lines_file(workplace / "events.ndjson", event(), *lines, event(amount="2.00"))
    assert ingest(file, "--rejects", "rejects.ndjson").code == 1
    records = [orjson.loads(line) for line in (workplace / "rejects.ndjson").read_bytes().splitlines()]
    assert [record["line"] for record in records] == list(range(2, 18))
    assert all(list(record)[:5] == ["file", "line", "path", "reason", "outcome"] for record in records)
    unknown, binary, long, *_, conflict = records
    assert (unknown["text"], unknown["path"], unknown["outcome"]) == ('{"a": 1}  ', "a", "rejected")
    assert base64.b64decode(binary["base64"]) == lines[1]
    assert long.keys() == {"file", "line", "path", "reason", "outcome"}
    assert long["reason"] == f"has {MAX_EVENT_BYTES + 100} bytes; at most {MAX_EVENT_BYTES} are allowed"
    assert (conflict["outcome"], orjson.loads(conflict["text"])) == ("conflict", event(amount="2.00"))
    ingest(lines_file(workplace / "good.ndjson", event()), "--rejects", "rejects.ndjson")
    assert (workplace / "rejects.ndjson").read_bytes() == b""


# --- forms of input -------------------------------------------------------------------------------

PLAIN = ndjson([event("A"), event("B"), event("C")])


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.removesuffix(b"\n"),
        PLAIN.replace(b"\n", b"\r\n"),
        PLAIN.replace(b"\n", b"\n \t\r\n\n"),
        BYTE_ORDER_MARK + PLAIN,
        gzip.compress(PLAIN),
        gzip.compress(PLAIN[:100]) + gzip.compress(b"") + gzip.compress(PLAIN[100:]) + b"\0" * 512,
        gzip.compress(BYTE_ORDER_MARK + PLAIN),
        zstd.compress(PLAIN[:100]) + zstd.compress(PLAIN[100:]),
    ],
    ids=["plain", "no last end", "CRLF", "blank lines", "BOM", "gzip", "members and padding", "gzip and BOM", "zstd"],
)
@on_sqlite
def test_forms_of_files(content: bytes, workplace: Path) -> None:
    """Its three events are read in every form, from the file and from standard input."""
    (workplace / "events").write_bytes(content)
    assert ingest("events").counts == {"appended": 3}
    with (workplace / "events").open("rb") as file:
        assert finished(spawn("ingest", "-", "--json", stdin=file.fileno())).counts == {"duplicate": 3}


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b'[{"sku":"A"},{"sku":"B"}]', "is a JSON array, and events are NDJSON, one a line: `jq -c '.[]'"),
        (b'\xef\xbb\xbf\n[\n{"sku":"A"}\n]\n', "is a JSON array"),
        (b'{\n  "sku": "A"\n}\n', "is JSON of several lines"),
        (b"sku,sourceVersion,price\nA,1,1.00\n", "looks like CSV, and events are NDJSON; write [sources.X.snapshot]"),
        (b'"ITEM NO";"PRICE";"CHANGED_AT"\r\n', "looks like CSV"),
    ],
)
@on_sqlite
def test_files_of_another_form_say_what_to_do(content: bytes, hint: str, workplace: Path) -> None:
    """None of their lines is appended or refused, and the exit code is 3."""
    file = workplace / "export"
    file.write_bytes(content)
    code, out, err = run_pagefold("ingest", str(file), "--json")
    assert code == 3
    assert f"{file}: {hint}" in err
    assert orjson.loads(out)["rejected"] == 0


@on_sqlite
def test_a_first_line_that_is_only_wrong_is_refused(workplace: Path) -> None:
    """A line that is not an event is refused, and the others are appended, as anywhere in a file."""
    for line in (b"nonsense", b'{"sku":"A","broken":', b'"text, with a comma, and more!"'):
        ran = run_pagefold("ingest", lines_file(workplace / "events", line, event()), "--json")
        assert ran.code == 1
        assert ran.document["rejected"] == 1


@on_sqlite
def test_several_files_and_none_at_all(workplace: Path) -> None:
    """Files are read one after the other; empty ones have no lines."""
    first, second = lines_file(workplace / "1", event("A")), lines_file(workplace / "2", event("B"))
    assert ingest(first, lines_file(workplace / "0"), second).counts == {"appended": 2}
    assert finished(spawn("ingest", "-", "--json", stdin=subprocess.DEVNULL)).counts == {}


@on_sqlite
def test_a_missing_file_is_3_before_anything_is_appended(workplace: Path) -> None:
    """All files are checked first."""
    for name in ("missing.ndjson", str(workplace)):
        ran = ingest(lines_file(workplace / "events.ndjson", event()), name)
        assert (ran.code, ran.out) == (3, "")
        assert name in ran.err
    assert run_pagefold("status", "--json").document["domains"][0]["logEnd"] == 0


@pytest.mark.parametrize("keep", [0.5, 0.98], ids=["middle", "end"])
@on_sqlite
def test_an_incomplete_gzip_is_3_after_what_was_read(keep: float, workplace: Path) -> None:
    """Complete lines are appended and counted, the cut line is not refused; the error says how far it was read."""
    packed = gzip.compress(ndjson(many(3_000)), mtime=0)
    (workplace / "events.gz").write_bytes(packed[: int(len(packed) * keep)])
    ran = ingest("events.gz")
    assert ran.code == 3
    assert ran.counts.keys() == {"appended"}
    assert 0 < ran.counts["appended"] < 3_000
    assert (ran.document["complete"], ran.document["error"] in ran.err) == (False, True)
    assert f"ends too early; the file is incomplete; read up to line {ran.counts['appended']:,}" in ran.err


@on_sqlite
def test_a_damaged_gzip_is_3(workplace: Path) -> None:
    """A checksum that does not match is an error of the source."""
    packed = bytearray(gzip.compress(PLAIN))
    packed[-6] ^= 1
    (workplace / "events.gz").write_bytes(packed)
    ran = ingest("events.gz")
    assert (ran.code, ran.document["complete"]) == (3, False)
    assert "damaged" in ran.err


@on_sqlite
def test_a_pipe_is_appended_as_it_comes(workplace: Path) -> None:
    """Lines from a pipe do not wait for a full batch, and a signal ends the wait for more."""
    process = spawn("ingest", "-", "--json", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(ndjson([event(), event(amount=1.5)]).decode())
    process.stdin.flush()
    wait_for(process, "-:2: payload.amount")
    process.send_signal(signal.SIGTERM)
    ran = finished(process)
    assert ran.code == 143
    assert (ran.counts, ran.document["complete"]) == ({"appended": 1, "rejected": 1}, False)


# --- the reader alone -----------------------------------------------------------------------------


def read(content: bytes, step: int) -> tuple[list[tuple[int, bytes | None]], list[object]]:
    """The lines that a reader finds in content that it gets in steps, with their events."""
    reader = NdjsonReader("test")
    lines = []
    pieces = [content[start : start + step] for start in range(0, len(content), step)]
    for piece in [*pieces, b""]:
        reader.feed(piece)
        while batch := reader.batch(partial=not piece):
            assert len(batch) <= MAX_BATCH_LINES
            lines += batch
    return [(line.number, line.text) for line in lines], [line.event for line in lines]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100, 10_000])
def test_how_bytes_arrive_does_not_matter(step: int) -> None:
    """The lines do not depend on the pieces in which bytes arrive, compressed or not."""
    content = BYTE_ORDER_MARK + b"\n".join([PLAIN, b"", b"\r", b"  [] ", b"x"])
    expected = read(content, len(content))
    assert [number for number, _ in expected[0]] == [1, 2, 3, 7, 8]
    assert read(content, step)[0] == expected[0]
    assert read(gzip.compress(content[:50]) + gzip.compress(content[50:]), step)[0] == expected[0]


@pytest.mark.parametrize(("over", "event_type"), [(0, DomainEvent), (1, Rejected)])
def test_the_limit_of_a_line(over: int, event_type: type) -> None:
    """A line may have exactly 1 MiB, without its newline and a byte order mark."""
    bare = orjson.dumps(event(version=1))
    line = bare[:-1] + b" " * (MAX_EVENT_BYTES - len(bare) + over) + b"}"
    for content in (line, line + b"\r\n", BYTE_ORDER_MARK + line + b"\r\n"):
        [_], [found] = read(content, 10_000)
        assert isinstance(found, event_type)


def test_a_long_line_is_not_held() -> None:
    """Of a line above the limit only the length is kept, and the next line is read as usual."""
    reader = NdjsonReader("test")
    chunk = b"x" * 1_000_000
    for _ in range(200):
        reader.feed(chunk)
        assert reader.batch(partial=False) is None
        assert sum(map(len, reader._splitter._held)) <= 2 * MAX_EVENT_BYTES
    reader.feed(b"\n" + orjson.dumps(event()))
    reader.feed(b"")
    long, good = reader.batch(partial=True) or []
    assert (long.text, str(long.event)) == (None, f"has 200000000 bytes; at most {MAX_EVENT_BYTES} are allowed")
    assert isinstance(good.event, DomainEvent)


def test_a_small_file_may_hold_a_large_one() -> None:
    """Gzip is decompressed in pieces: a thousandfold expansion is never completely in memory."""
    packed = gzip.compress(b"{}\n" * 10_000_000)
    assert len(packed) < 100_000
    sizes = [len(piece or b"") for piece in decompress(iter([packed[:50], packed[50:]]), "test")]
    assert sum(sizes) == 30_000_000
    assert max(sizes) <= DECOMPRESS_BYTES


def test_what_follows_gzip_must_be_gzip() -> None:
    """Anything but zeros after a member is damage."""
    reader = NdjsonReader("test")
    reader.feed(gzip.compress(PLAIN) + b"trailing")
    with pytest.raises(SourceIncomplete, match="damaged"):
        reader.batch(partial=True)
    assert len(reader.rest()) == 3


# --- long runs ------------------------------------------------------------------------------------


def resident(arguments: Sequence[str]) -> tuple[int, Ran]:
    """The most memory that a command used, in KiB, and what it left. `ru_maxrss` would count this process's too."""
    script = (
        "import sys; from pagefold.engine.command.app import run; code = run(sys.argv[1:]); "
        "[peak] = [line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')]; "
        "print(peak, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    return int(done.stderr.splitlines()[-1]), Ran(done.returncode, done.stdout, done.stderr)


@on_sqlite
def test_memory_does_not_grow_with_the_file(workplace: Path) -> None:
    """Eight times the lines need hardly more memory."""
    line = ndjson([event()])
    for name, count in (("small", 10_000), ("large", 80_000)):
        (workplace / name).write_bytes(line * count)
    small, _ = resident(["ingest", "small", "--json"])
    large, ran = resident(["ingest", "large", "--json"])
    assert ran.counts == {"duplicate": 80_000}
    assert large - small < 10_000


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_finishes_the_batch(number: signal.Signals, code: int, workplace: Path) -> None:
    """The counts so far are printed and match the log, and running again appends the rest."""
    events = [b"the first line is refused, so that there is something to wait for", *many(60_000)]
    file = lines_file(workplace / "events.ndjson", *events)
    process = spawn("ingest", file, "--json")
    wait_for(process, f"{file}:1:")
    process.send_signal(number)
    ran = finished(process)
    assert ran.code == code
    assert 0 < ran.counts["appended"] < 60_000
    end = run_pagefold("status", "--json").document["domains"][0]["logEnd"]
    assert end == ran.counts["appended"]
    again = ingest(file)
    assert again.counts == {"appended": 60_000 - end, "duplicate": end, "rejected": 1}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_work_folds_until_a_signal(number: signal.Signals, workplace: Path) -> None:
    """A worker folds new events, logs a JSON line per batch, and ends with 0 after a signal."""
    process = spawn("work")
    wait_for(process, '"event":"working"')
    ingest(lines_file(workplace / "events.ndjson", product(), event()))
    wait_for(process, '"event":"folded"')
    deadline = time.monotonic() + 30
    while run_pagefold("get", "A", "web-de").code or not run_pagefold("get", "A", "web-de").document["pricing"]:
        assert time.monotonic() < deadline
    process.send_signal(number)
    ran = finished(process)
    assert (ran.code, ran.out) == (0, "")
    assert [orjson.loads(line)["event"] for line in ran.err.splitlines()][-1] == "stopped"


def test_work_once_reports_what_it_folded(workplace: Path) -> None:
    """It reports each chosen domain; a second run finds nothing left."""
    ingest(lines_file(workplace / "events.ndjson", product(), event(), event(version=2, amount="2.00")))
    ran = run_pagefold("work", "--once", "--domain", "pricing", "--json")
    assert (ran.code, ran.document["complete"]) == (0, True)
    [pricing] = ran.document["domains"]
    assert pricing == {"domain": "pricing", "checkpoint": 4, "events": 2, "applied": 1, "stale": 1, "dead": 0}
    rest = run_pagefold("work", "--once", "--json").document["domains"]
    assert {each["domain"]: each["events"] for each in rest} == {"catalog": 1, "pricing": 0, "inventory": 0, "media": 0}
    assert "catalog" in run_pagefold("work", "--once").out


@on_sqlite
def test_a_log_from_an_older_backup_is_3(workplace: Path, tmp_path: Path) -> None:
    """A log that is not the one that was folded stops the worker with one line."""
    ingest(lines_file(workplace / "events.ndjson", event()))
    run_pagefold("work", "--once")
    for name in ("events.db", "events.db-wal", "events.db-shm"):
        (tmp_path / "shop" / name).unlink(missing_ok=True)
    run_pagefold("init")
    for arguments in (("work",), ("work", "--once")):
        ran = finished(spawn(*arguments, "--log-level", "error"))
        assert ran.code == 3
        assert "the log is not the one that was folded" in ran.err
        assert "pagefold recover" in ran.err
        assert "Traceback" not in ran.err


# --- real data ------------------------------------------------------------------------------------


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no data at {DATA}; PAGEFOLD_DATA names another folder")
@on_sqlite
def test_sunrise(tmp_path: Path, store_url: str) -> None:
    """A real shop's four files are appended without a refusal, and folded into the expected page."""
    where = ("--config", str(DATA / "pagefold.toml"), "--store", store_url)
    files = [str(DATA / f"{name}.ndjson") for name in ("catalog", "pricing", "inventory", "media")]
    ran = run_pagefold(*where, "ingest", "--json", *files)
    assert ran.code == 0
    assert ran.counts == {"appended": ran.document["lines"]}
    assert run_pagefold(*where, "work", "--once").code == 0
    page = run_pagefold(*where, "get", "M0E20000000DLYA", "de").document
    assert page["ready"]
    assert (page["pricing"]["amount"], page["pricing"]["currency"]) == ("150.00", "EUR")
    assert len(page["media"]["assets"]) == 1
    assert page["inventory"]["available"] == sum(each["available"] for each in page["inventory"]["locations"])
