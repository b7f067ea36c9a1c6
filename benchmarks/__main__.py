"""`python -m benchmarks`: compares Pagefold, on both stores, with a baseline and the `eventsourcing` library.

python -m benchmarks --quick                       # about a minute, to see that everything works
python -m benchmarks                               # 100,000 and 1,000,000 events: half an hour
python -m benchmarks --only apply --store sqlite   # one benchmark on one store
python -m benchmarks --only compare repair replay rebuild-memory   # rebuilds
python -m benchmarks --only http http-past http-cache http-ingest http-busy  # over HTTP; page reads need `wrk`
python -m benchmarks --only dashboard --events 1M  # every screen of a shop of a million pages: ten minutes
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
    bench_channels,
    bench_contracts,
    bench_dashboard,
    bench_deliveries,
    bench_entrances,
    bench_feed,
    bench_freshness,
    bench_growth,
    bench_http_cache,
    bench_http_ingest,
    bench_http_reads,
    bench_http_under_load,
    bench_inheritance,
    bench_many_reads,
    bench_past_reads,
    bench_peers,
    bench_plan,
    bench_reads,
    bench_rebuild,
    bench_replay,
    bench_sync,
    bench_targets,
    bench_transforms,
)
from benchmarks.machine import describe
from benchmarks.measurement import Line
from benchmarks.null_logging import discard_logs
from benchmarks.report import Report, as_json, chart, markdown, show
from benchmarks.run_settings import Bench
from benchmarks.throwaway_stores import PostgresStores, SQLiteStores, Stores
from pagefold.engine.runtime.event_loop import tune_gc


async def _append(bench: Bench, stores: Stores) -> list[Line]:
    return [await bench_append.batches(bench, stores, events) for events in bench.sizes]


async def _singles(bench: Bench, stores: Stores) -> list[Line]:
    return [await bench_append.singles(bench, stores)]


async def _one_at_a_time(bench: Bench, stores: Stores) -> list[Line]:
    return [await bench_append.one_at_a_time(bench, stores)]


async def _together(bench: Bench, stores: Stores) -> list[Line]:
    return [await bench_append.together(bench, stores, events) for events in bench.sizes]


async def _freshness(bench: Bench, stores: Stores) -> list[Line]:
    return [await bench_freshness.line(bench, stores)]


async def _reads(bench: Bench, stores: Stores) -> list[Line]:
    return [line for events in bench.sizes for line in await bench_reads.lines(bench, stores, events)]


async def _contracts(bench: Bench, stores: Stores) -> list[Line]:
    return [*await bench_contracts.lines(bench, stores), *await bench_entrances.lines(bench, stores)]


LINES: Mapping[str, Callable[[Bench, Stores], Awaitable[list[Line]]]] = {
    "append": _append,
    "singles": _singles,
    "one-at-a-time": _one_at_a_time,
    "apply": bench_apply.lines,
    "memory": bench_apply.memory,
    "channels": bench_channels.lines,
    "together": _together,
    "inheritance": bench_inheritance.lines,
    "freshness": _freshness,
    "feed": bench_feed.lines,
    "reads": _reads,
    "many-reads": bench_many_reads.lines,
    "peers": bench_peers.lines,
    "growth": bench_growth.lines,
    "compare": bench_rebuild.compare,
    "repair": bench_rebuild.repair,
    "replay": bench_replay.lines,
    "plan": bench_plan.lines,
    "rebuild-memory": bench_rebuild.memory,
    "transforms": bench_transforms.lines,
    "contracts": _contracts,
    "sync": bench_sync.lines,
    "deliveries": bench_deliveries.lines,
    "targets": bench_targets.lines,
    "http": bench_http_reads.lines,
    "http-past": bench_past_reads.lines,
    "http-cache": bench_http_cache.lines,
    "http-ingest": bench_http_ingest.lines,
    "http-busy": bench_http_under_load.lines,
    "dashboard": bench_dashboard.lines,
}
"""The benchmarks by their name for `--only`."""

SUFFIXES = {"k": 1_000, "M": 1_000_000}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses the command line."""
    description = "Measure Pagefold, a baseline without its checks, and the eventsourcing library, interleaved."
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=description)
    parser.add_argument("--quick", action="store_true", help="use few events and rounds: about a minute")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=tuple(LINES),
        default=tuple(LINES),
        metavar="NAME",
        help=f"run only these benchmarks: {', '.join(LINES)}",
    )
    parser.add_argument("--store", choices=("sqlite", "postgres", "both"), default="both", help="default: both")
    parser.add_argument("--events", type=sizes, metavar="N,…", help="numbers of events in the log, such as 100k,1M")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of each benchmark; default 5, 2 with --quick")
    parser.add_argument("--json", metavar="FILE", help="write the results as JSON; - prints them instead of the table")
    parser.add_argument("--markdown", type=Path, metavar="FILE.md", help="write a table as in docs/benchmarks.md")
    parser.add_argument("--chart", type=Path, metavar="FILE.svg", help="draw the results as a chart")
    return parser.parse_args(arguments)


def sizes(text: str) -> list[int]:
    """Parses `100k,1M` into numbers, in ascending order."""
    return sorted(int(part.rstrip("kM")) * SUFFIXES.get(part[-1], 1) for part in text.split(","))


async def measure(bench: Bench, only: Sequence[str]) -> list[Line]:
    """Runs these benchmarks on each store. A log of each size is made once per store."""
    found: list[Line] = []
    for stores in bench.stores:
        for name in only:
            print(f"{stores.name}: {name} …", file=sys.stderr)
            found += await LINES[name](bench, stores)
    return found


def main(arguments: Sequence[str]) -> None:
    """Runs the requested benchmarks and reports the results."""
    options = parse(arguments)
    discard_logs()
    tune_gc()
    with ExitStack() as stack:
        stores: list[Stores] = []
        if options.store != "postgres":
            stores.append(SQLiteStores(stack))
        if options.store != "sqlite":
            stores.append(PostgresStores(stack))
        default = [2_000, 10_000] if options.quick else [100_000, 1_000_000]
        bench = Bench(options.events or default, options.rounds or (2 if options.quick else 5), options.quick, stores)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            lines = runner.run(measure(bench, options.only))
        server = next((each.server.url() for each in stores if isinstance(each, PostgresStores)), None)
        settings = {"rounds": f"{bench.rounds}, at most 3 with more than 100,000 events", "event loop": "uvloop"}
        report = Report(describe(server), settings, lines)
    if options.json == "-":
        sys.stdout.buffer.write(as_json(report))
    else:
        show(report)
    if options.json not in (None, "-"):
        Path(options.json).write_bytes(as_json(report))
    if options.markdown:
        options.markdown.write_text(markdown(report), encoding="utf-8")
    if options.chart:
        chart(report, options.chart)


if __name__ == "__main__":
    main(sys.argv[1:])
