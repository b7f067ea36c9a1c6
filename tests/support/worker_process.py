"""A worker process: folds all domains until SIGTERM, and logs in JSON lines.

    python -m tests.support.worker_process CONFIG

`--keep` forbids others to kill it while it is frozen. `--trap FILE`: if the file exists while a batch is written and
not committed, the worker removes it and sends itself the signal in it. `--transactions`: also a few SKUs are folded in
a fold transaction.
"""

import argparse
import signal
import sys
import threading
from collections.abc import Collection, Sequence
from pathlib import Path

import anyio
import structlog

import pagefold
from pagefold.engine.consumers import log_tail
from pagefold.engine.folding.fold_results import FoldResult
from pagefold.engine.folding.folder import Folder
from pagefold.engine.folding.head_folder import HeadFolder
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.store import FoldTransaction
from pagefold.projections import SharedSections
from tests.support.processes import die_with_parent

log = structlog.get_logger(__name__)


def log_json() -> None:
    """Lets every log line go to standard output at once."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
    )


def set_trap(file: Path) -> None:
    """Makes every fold check the trap before it is stored."""
    fold_in_peace, fold_few_in_peace = Folder.fold, HeadFolder.fold_few

    async def fold(
        self: Folder,
        transaction: FoldTransaction,
        streams: Collection[str],
        *,
        by: str | None = None,
        again: bool = False,
        followed: bool = False,
    ) -> FoldResult:
        folded = await fold_in_peace(self, transaction, streams, by=by, again=again, followed=followed)
        spring(file)
        return folded

    def fold_few(self: HeadFolder, heads: Sequence[StoredEvent]) -> list[SharedSections] | None:
        folded = fold_few_in_peace(self, heads)
        spring(file)
        return folded

    Folder.fold = fold  # type: ignore[method-assign]  # one of these two is called by every fold of every store
    HeadFolder.fold_few = fold_few  # type: ignore[method-assign]  # likewise


def spring(trap: Path) -> None:
    """Sends the signal in the trap, if there is one."""
    try:
        name = trap.read_text(encoding="utf-8")
        trap.unlink()
    except FileNotFoundError:  # there is none, or it was just removed
        return
    signal.pthread_kill(threading.get_ident(), signal.Signals[name])  # at once: another thread may take its time


async def main(config: Path, *, killable: bool) -> None:
    """Works until SIGTERM."""
    async with pagefold.open(config, killable=killable) as shop, anyio.create_task_group() as group:
        group.start_soon(_end_on_request, group.cancel_scope)
        log.info("working")
        await shop.work()


async def _end_on_request(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


if __name__ == "__main__":
    die_with_parent()
    log_json()
    parser = argparse.ArgumentParser(prog="tests.support.worker_process")
    parser.add_argument("config", type=Path)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--trap", type=Path)
    parser.add_argument("--transactions", action="store_true")
    options = parser.parse_args()
    if options.trap is not None:
        set_trap(options.trap)
    if options.transactions:
        log_tail.MAX_FEW_STREAMS = 0
    anyio.run(lambda: main(options.config, killable=not options.keep))
