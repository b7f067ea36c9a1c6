"""A rebuild in a process of its own; `--resume` resumes the last one.

    python -m tests.support.rebuild_process CONFIG SOURCE

`--trap N`: the process kills itself at its N-th write: before the call of the store if N is odd, else after it, before
its result is used.
"""

import argparse
import itertools
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio

import pagefold
from pagefold.engine.rebuild import row_order
from pagefold.engine.rebuild.rebuild_service import RebuildRequest
from pagefold.engine.rebuild.source_rebuild import SourceRebuild
from pagefold.engine.snapshots import line_rows
from tests.support.processes import die_with_parent
from tests.support.rebuild_fixtures import Witness

MOST = RebuildRequest(max_orphans="100%")


def set_trap(number: int) -> None:
    """Kills this process at one of the writes of a run."""
    write_in_peace = SourceRebuild._retry
    calls = itertools.count(1)

    async def write(self: SourceRebuild, work: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401  # whatever it gives
        here = next(calls) == number
        if here and number % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return await write_in_peace(self, work)
        finally:
            if here:  # also when it is cancelled, because the rows are not sorted
                os.kill(os.getpid(), signal.SIGKILL)

    SourceRebuild._retry = write  # type: ignore[method-assign]  # the one place through which all is written


async def main(config: Path, source: str, resume: bool) -> None:  # noqa: FBT001  # anyio gives arguments by place
    """One run, to its end."""
    async with pagefold.open(config) as shop, shop.rebuilds() as rebuilds:
        if resume:
            run = await rebuilds.runs.latest(source)
            assert run is not None
            await rebuilds.resume(run.id, Witness(), confirmed=True)
        else:
            await rebuilds.rebuild(source, MOST, Witness())


if __name__ == "__main__":
    die_with_parent()
    parser = argparse.ArgumentParser(prog="tests.support.rebuild_process")
    parser.add_argument("config", type=Path)
    parser.add_argument("source")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--trap", type=int)
    parser.add_argument("--rows", type=int, default=row_order.CHUNK_ROWS, help="of a page at most")
    asked = parser.parse_args(sys.argv[1:])
    for module, name in ((line_rows, "BATCH_ROWS"), (row_order, "CHUNK_ROWS")):
        setattr(module, name, asked.rows)
    if asked.trap:
        set_trap(asked.trap)
    anyio.run(main, asked.config, asked.source, asked.resume)
