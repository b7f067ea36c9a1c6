"""Pagefold beside stream processors, on the same file of events, until every page can be read; the pages must agree.

Each run is a process with a new store. Its start is not counted. The stream processors keep the newest events in
memory, and the finished pages in a table of the same database, in large transactions. They validate nothing, keep no
log, and after a restart they read the file again.
"""

import sys
import tempfile
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections import defaultdict
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import msgspec
import orjson

import pagefold
from benchmarks.measurement import PAGEFOLD, Claim, Line, Side, Spread, Timed, interleave, ratio, spreads
from benchmarks.peer_clock import Cost
from benchmarks.peer_pages import DOMAINS, page_table
from benchmarks.run_settings import Bench
from benchmarks.throwaway_stores import Stores
from benchmarks.workload import Workload, config
from pagefold import DomainEvent

PEERS: Mapping[str, str] = {"Bytewax": "bytewax", "Pathway": "pathway"}
"""By side, the package."""


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """The smallest number of events, by Pagefold and by each peer that is installed."""
    peers = {name: package for name, package in PEERS.items() if find_spec(package) is not None}
    for name in PEERS.keys() - peers:
        print(f"{name} is not installed, and left out: pip install '.[benchmarks-peers]'", file=sys.stderr)
    if not peers:
        return []
    events = min(bench.sizes)
    with tempfile.TemporaryDirectory(prefix="pagefold-benchmarks-") as folder:
        file = Path(folder) / "events.ndjson"
        with file.open("wb") as out:
            for batch in Workload().batches(events):
                out.writelines(map(event_line, batch))
        return [await _measure(bench, stores, file, events, peers)]


def event_line(event: DomainEvent) -> bytes:
    """The event as a line of a file."""
    fields = {
        "type": event.type,
        "sku": event.sku,
        "channel": event.channel,
        "source": event.source,
        "sourceVersion": event.source_version,
        "occurredAt": event.occurred_at,
        "payload": orjson.Fragment(event.payload),  # type: ignore[arg-type]  # the workload's are bytes
    }
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


async def _measure(bench: Bench, stores: Stores, file: Path, events: int, peers: Mapping[str, str]) -> Line:
    costs: defaultdict[str, list[float]] = defaultdict(list)
    kept: dict[str, str] = {}

    def side(name: str, package: str) -> Side:
        async def run() -> Timed:
            if name in kept:
                await stores.drop(kept[name])
            kept[name] = await stores.new()
            cost = await _run(f"benchmarks.peer_{package}", str(file), kept[name])
            costs[name].append(cost.cpu * 1e6 / events)
            return Timed(cost.seconds, events)

        return Side(name, run)

    sides = [side(name, package) for name, package in {PAGEFOLD: PAGEFOLD, **peers}.items()]
    rates = await interleave(sides, bench.rounds)
    for name in peers:
        await compare(kept[PAGEFOLD], kept[name])
    for url in kept.values():
        await stores.drop(url)
    claims = [ratio(rates, PAGEFOLD, name) for name in peers]
    claims += [Claim(f"µs of CPU per event, {name}", Spread.of(values)) for name, values in costs.items()]
    note = "CPU is without the database server's"
    return Line(
        "a file of events, until pages are readable", stores.name, events, "events/s", spreads(rates), claims, note
    )


async def _run(*arguments: str) -> Cost:
    process = await create_subprocess_exec(sys.executable, "-m", *arguments, stdout=PIPE, stderr=PIPE)
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return msgspec.json.decode(output.splitlines()[-1], type=Cost)


async def compare(url: str, peer_url: str) -> None:
    """Every page of a peer has the sections of Pagefold's."""
    table = page_table(peer_url)
    pages = table.read()
    table.close()
    async with pagefold.open(config(url)) as shop:
        keys = [key async for key in shop.store.pages.keys()]  # noqa: SIM118  # it is not a dict
        for key in keys:
            page = await shop.pages.get_json(*key, disabled=True)
            assert page is not None
            own, other = orjson.loads(page), orjson.loads(pages[key])
            assert [own[domain] for domain in DOMAINS] == [other[domain] for domain in DOMAINS], key
    assert keys
