"""`python -m benchmarks`: every line, on both stores, beside its floor and the `eventsourcing` library.

python -m benchmarks --quick                       # does everything work? about a minute
python -m benchmarks                               # 100,000 and 1,000,000 events: half an hour
python -m benchmarks --only apply --store sqlite   # one line
python -m benchmarks --only compare mend refold rebuild-memory   # what concerns rebuilds
python -m benchmarks --only http http-ingest http-busy           # over HTTP, where `wrk` asks for pages
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import uvloop

from benchmarks import (
    bench_append,
    bench_apply,
    bench_freshness,
    bench_http_ingest,
    bench_http_reads,
    bench_http_under_load,
    bench_reads,
    bench_rebuild,
    bench_replay,
)
from benchmarks.machine import describe
from benchmarks.measurement import Line
from benchmarks.null_logging import be_quiet
from benchmarks.report import Report, as_json, chart, show
from benchmarks.run_settings import Bench
from benchmarks.throwaway_stores import PostgresStores, SQLiteStores, Stores
from pagefold.engine.runtime.event_loop import tune_gc


async def _append(bench: Bench, stores: Stores) -> list[Line]:
    return [await bench_append.batches(bench, stores, events) for events in bench.sizes]


async def _singles(bench: Bench, stores: Stores) -> list[Line]:
    return [await bench_append.singles(bench, stores)]


async def _together(bench: Bench, stores: Stores) -> list[Line]:
    return [await bench_append.together(bench, stores, events) for events in bench.sizes]


async def _freshness(bench: Bench, stores: Stores) -> list[Line]:
    return [await bench_freshness.line(bench, stores)]


async def _reads(bench: Bench, stores: Stores) -> list[Line]:
    return [line for events in bench.sizes for line in await bench_reads.lines(bench, stores, events)]


LINES: Mapping[str, Callable[[Bench, Stores], Awaitable[list[Line]]]] = {
    "append": _append,
    "singles": _singles,
    "apply": bench_apply.lines,
    "memory": bench_apply.memory,
    "together": _together,
    "freshness": _freshness,
    "reads": _reads,
    "compare": bench_rebuild.compare,
    "mend": bench_rebuild.mend,
    "refold": bench_replay.lines,
    "rebuild-memory": bench_rebuild.memory,
    "http": bench_http_reads.lines,
    "http-ingest": bench_http_ingest.lines,
    "http-busy": bench_http_under_load.lines,
}
"""What `--only` can name."""

SUFFIXES = {"k": 1_000, "M": 1_000_000}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Pagefold beside its floor.")
    parser.add_argument("--quick", action="store_true", help="few events and rounds: about a minute")
    parser.add_argument(
        "--only", nargs="+", choices=tuple(LINES), default=tuple(LINES), metavar="NAME", help=", ".join(LINES)
    )
    parser.add_argument("--store", choices=("sqlite", "postgres", "both"), default="both")
    parser.add_argument("--events", type=sizes, help="such as 100k,1M")
    parser.add_argument("--rounds", type=int, help="5, or 2 with --quick")
    parser.add_argument("--json", metavar="FILE", help="also as JSON; - is standard output, without the table")
    parser.add_argument("--chart", type=Path, metavar="FILE.svg", help="also as a chart")
    return parser.parse_args(arguments)


def sizes(text: str) -> list[int]:
    """`100k,1M` as numbers, the smallest first."""
    return sorted(int(part.rstrip("kM")) * SUFFIXES.get(part[-1], 1) for part in text.split(","))


async def measure(bench: Bench, only: Sequence[str]) -> list[Line]:
    """Line by line, store by store. Stores are filled once."""
    found: list[Line] = []
    for stores in bench.stores:
        for name in only:
            print(f"{stores.name}: {name} …", file=sys.stderr)
            found += await LINES[name](bench, stores)
    return found


def main(arguments: Sequence[str]) -> None:
    """Runs what was asked for, and shows it."""
    asked = parse(arguments)
    be_quiet()
    tune_gc()
    with ExitStack() as stack:
        stores: list[Stores] = []
        if asked.store != "postgres":
            stores.append(SQLiteStores(stack))
        if asked.store != "sqlite":
            stores.append(PostgresStores(stack))
        default = [2_000, 10_000] if asked.quick else [100_000, 1_000_000]
        bench = Bench(asked.events or default, asked.rounds or (2 if asked.quick else 5), asked.quick, stores)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            lines = runner.run(measure(bench, asked.only))
        server = next((each.server.url() for each in stores if isinstance(each, PostgresStores)), None)
        settings = {"rounds": f"{bench.rounds}, at most 3 with more than 100,000 events", "event loop": "uvloop"}
        report = Report(describe(server), settings, lines)
    if asked.json == "-":
        sys.stdout.buffer.write(as_json(report))
    else:
        show(report)
    if asked.json not in (None, "-"):
        Path(asked.json).write_bytes(as_json(report))
    if asked.chart:
        chart(report, asked.chart)


if __name__ == "__main__":
    main(sys.argv[1:])
