"""The work of `pagefold rebuild`: one run per source, then a comparison of the pages."""

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Self, TypeAlias

import anyio
import msgspec
import orjson
from rich.text import Text

import pagefold
from pagefold.domains.domain import JSON
from pagefold.engine.command.console import JSONList, count, pace, print_error, print_message, write_pieces
from pagefold.engine.command.options import DOMAIN_NAMES, Exit, Options, UsageError
from pagefold.engine.command.progress import Meter, share_meter
from pagefold.engine.command.rebuild_options import RebuildOptions
from pagefold.engine.command.run_report import (
    MAX_SHOWN_ORPHANS,
    drift_item,
    list_drift,
    needs_attention,
    next_step,
    run_lines,
    run_pieces,
)
from pagefold.engine.command.signals import stoppable
from pagefold.engine.command.verify import (
    MAX_SHOWN,
    DriftTally,
    behind_text,
    drift_lines,
    print_lines,
    rate,
    section_count,
)
from pagefold.engine.errors import (
    ConfigurationError,
    PagefoldError,
    RebuildInProgress,
    RunNotResumable,
    RunTakenOver,
    StoreDamaged,
    StoreError,
    UnknownRun,
)
from pagefold.engine.rebuild.excerpts import clean
from pagefold.engine.rebuild.rebuild_service import RebuildRequest, RebuildService, RunReport
from pagefold.engine.rebuild.run_observer import Finding, RunObserver
from pagefold.engine.rebuild.run_orphans import first_orphans, proves_orphans
from pagefold.engine.replay.replayer import ReplayResult, SectionDrift
from pagefold.engine.runtime.task_groups import run_beside
from pagefold.engine.shop import Shop
from pagefold.engine.snapshots.snapshot import Batch
from pagefold.engine.stores.store import Checkpoint

POLL_SECONDS = 0.5

_NOTHING_DONE = (RebuildInProgress, RunNotResumable, RunTakenOver, UnknownRun)
"""Errors before anything was done: another process has the run, or it cannot be resumed."""

_StartRun: TypeAlias = Callable[[RunObserver], Awaitable[RunReport]]


async def run_rebuild(chosen: RebuildOptions, options: Options, *, as_json: bool) -> int:
    """Runs the command. Returns its exit code."""
    started = time.monotonic()
    with _Findings(as_json=as_json) as found:
        async with (
            pagefold.open(options.load(), create=False, killable=True) as shop,
            shop.rebuilds() as service,
            stoppable() as stop,
        ):
            job = _RebuildJob(shop, service, chosen, found)
            with stop.scope:
                await job.execute()
            if stop:
                await job.report_interruption()
        code = stop.exit_code if stop else found.code
        if as_json:
            write_pieces(found.pieces(time.monotonic() - started, code))
    return code


class _Findings:
    """The findings of the command, and its exit code."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.code = int(Exit.DONE)
        self.runs: list[tuple[RunReport, JSONList]] = []
        self.pages: ReplayResult | None = None
        self._errors: list[JSON] = []
        self._lists = ExitStack()
        self._sections = self.new_list()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lists.close()

    def new_list(self) -> JSONList:
        """A list of JSON items, which is closed with the findings."""
        return self._lists.enter_context(JSONList())

    def require_attention(self) -> None:
        """Sets exit code 1: done, but something needs a person."""
        self.code = max(self.code, Exit.REFUSED)

    def fail(self, source: str | None, error: PagefoldError) -> None:
        """Prints an error, of one source or of all, and sets the exit code."""
        print_error(str(error))
        self._errors.append({"source": source, "error": clean(str(error))})
        match error:
            case ConfigurationError():
                code = Exit.USAGE
            case _ if isinstance(error, _NOTHING_DONE):
                code = Exit.REFUSED
            case _:
                code = Exit.FAILED
        self.code = max(self.code, code)

    def add_section(self, drift: SectionDrift) -> None:
        """Adds a drifted section."""
        if self.as_json:
            self._sections.add(msgspec.json.encode(drift))

    def pieces(self, seconds: float, code: int) -> Iterator[bytes]:
        """The JSON document, in pieces."""
        yield b'{"runs":['
        for index, (report, drift) in enumerate(self.runs):
            yield b"," if index else b""
            yield from run_pieces(report, drift)
        yield b'],"pages":'
        if self.pages is None:
            yield b"null"
        else:
            yield msgspec.json.encode(self.pages)[:-1] + b',"drift":'
            yield from self._sections.pieces()
            yield b"}"
        yield b"," + orjson.dumps({"errors": self._errors, "seconds": seconds, "exitCode": code})[1:]


class _RunProgress(RunObserver):
    """Shows the progress of a run. Keeps the findings of a dry run, which are not recorded."""

    def __init__(self, drift: JSONList | None) -> None:
        self.meter: Meter | None = None
        self.run: str | None = None
        self.drift = drift
        self._started = time.monotonic()
        self._sorting = False
        self._reset()

    def _reset(self) -> None:
        self.rows = 0
        self.orphans: list[str] = []
        self._found = 0

    def begun(self, run_id: str) -> None:
        """Notes the id of the run."""
        self.run = run_id

    def compared(self, rows: int, total: int) -> None:
        """Shows how many of the rows are compared, after they were read and sorted."""
        if self.meter is not None:
            self.meter.update(rows, f"{count(rows, 'sorted row')} compared{self._so_far()}", total)

    def read(self, batch: Batch) -> None:
        """Counts a batch of the snapshot."""
        self.rows += len(batch.rows)
        note = rate(self.rows, "row", self._started)
        if self._sorting:
            note += ", to be sorted"
        if self.meter is not None:
            self.meter.update(batch.done, note + self._so_far(), batch.total)

    def _so_far(self) -> str:
        return f", {self._found:,} drifted" if self._found else ""

    def found(self, drift: Finding, streams: Sequence[str]) -> None:
        """Counts drifted streams."""
        self._found += len(streams)
        if drift == "orphan":
            self.orphans += streams[: MAX_SHOWN_ORPHANS - len(self.orphans)]
        if self.drift is not None:
            for stream in streams:
                self.drift.add(drift_item(stream, drift))

    def start_over(self) -> None:
        """Discards all findings: the rows are sorted and compared again."""
        self._reset()
        self._started = time.monotonic()
        self._sorting = True
        if self.drift is not None:
            self.drift.clear()

    def pace(self, report: RunReport) -> str:
        """The number of rows, and how fast they were read."""
        rows = report.counts.rows
        if report.seconds and self.rows == rows:
            return pace(rows, "row", report.seconds, complete=True)
        if report.seconds and self.rows:
            return f"{count(rows, 'row')}; read {pace(self.rows, 'row', report.seconds, complete=True)}"
        return count(rows, "row")


class _RebuildJob:
    """One call of the command: its runs, one after the other, then the comparison of the pages."""

    def __init__(self, shop: Shop, service: RebuildService, chosen: RebuildOptions, found: _Findings) -> None:
        self._shop = shop
        self._service = service
        self._chosen = chosen
        self._found = found
        self._current: tuple[str, _RunProgress] | None = None

    async def execute(self) -> None:
        """Does everything. Raises `UsageError` and `ConfigurationError` before anything is done."""
        chosen = self._chosen
        try:
            if chosen.origin is not None:
                await self._check_indexes()
                await self._verify_pages(chosen.domain, chosen.prefix)
            elif chosen.resume is not None:
                await self._resume(chosen.resume)
            else:
                await self._rebuild(self._sources())
        except StoreError as error:
            self._found.fail(None if self._current is None else self._current[0], error)
            if self._current is not None and not chosen.dry_run:
                print_message("`pagefold rebuilds list` shows the run, which can be resumed")

    async def report_interruption(self) -> None:
        """Prints what an interrupted command has done, and how to continue it."""
        if self._chosen.dry_run:
            print_message("interrupted: nothing was changed")
        elif self._current is None:
            print_message("interrupted: `pagefold rebuild --from log` compares the pages again")
        else:
            _, progress = self._current
            report = await self._recorded_run(progress)
            if report is None:
                print_message("interrupted: no run was started")
            else:
                await self._report_run(report, progress, shown=0)

    # --- runs -------------------------------------------------------------------------------------

    def _sources(self) -> list[str]:
        chosen = self._chosen
        sources = self._service.sources(chosen.source, chosen.domain)
        if sources:
            return sources
        configured = self._shop.config.sources
        if any(each.snapshot for each in configured.values()):
            raise UsageError(
                "--domain", f"none of the sources to rebuild has the domain {' or '.join(chosen.domain or ())}"
            )
        name = next(iter(configured), "erp")
        problem = (
            f"no source has a snapshot configured; write [sources.{name}.snapshot] and below it "
            f'file = "exports/{name}.ndjson", or url, or query. `--from log` needs none'
        )
        raise self._shop.config.error("sources", problem)

    async def _rebuild(self, sources: Sequence[str]) -> None:
        chosen = self._chosen
        request = RebuildRequest(
            domains=chosen.domain,
            prefix=chosen.prefix,
            max_orphans=chosen.max_orphans,
            confirmed=chosen.yes,
            dry_run=chosen.dry_run,
            new_epoch=chosen.new_epoch,
        )
        started = [await self._run(name, partial(self._service.rebuild, name, request)) for name in sources]
        if any(started):
            concerned = {domain for name in sources for domain in self._shop.config.sources[name].domains}
            domains = concerned.intersection(chosen.domain or concerned)
            await self._fold([name for name in DOMAIN_NAMES if name in domains], chosen.prefix)

    async def _resume(self, run_id: str) -> None:
        try:
            report = await self._service.report(run_id)
        except UnknownRun as error:
            self._found.fail(None, error)
            return
        if report.state == "completed":
            print_message(f"the rebuild {run_id} is completed already")
            await self._report_run(report, _RunProgress(self._list()))
        else:
            confirmed = self._chosen.yes
            started = await self._run(report.source, partial(self._service.resume, run_id, confirmed=confirmed))
            if not started or (report.state == "held" and not confirmed):
                return
        await self._fold(report.domains, report.prefix)

    async def _run(self, source: str, start: _StartRun) -> bool:
        """Runs one source and reports it. Whether the run has started: if so, it may have appended events."""
        progress = _RunProgress(self._list())
        self._current = source, progress
        try:
            with share_meter(source) as progress.meter:
                report: RunReport | None = await start(progress)
        except StoreError:
            raise
        except PagefoldError as error:
            self._found.fail(source, error)
            if isinstance(error, _NOTHING_DONE):
                self._current = None
                return False
            report = await self._recorded_run(progress)
        with anyio.CancelScope(shield=True):  # the run is over: only its report is missing
            if report is not None:
                await self._report_run(report, progress)
        self._current = None
        return True

    def _list(self) -> JSONList | None:
        return self._found.new_list() if self._found.as_json else None

    async def _recorded_run(self, progress: _RunProgress) -> RunReport | None:
        """The report of the current run, if it is recorded."""
        return None if progress.run is None else await self._service.report(progress.run)

    async def _report_run(self, report: RunReport, progress: _RunProgress, *, shown: int = MAX_SHOWN) -> None:
        """Prints a run, with up to `shown` samples, or keeps it for the JSON document."""
        if needs_attention(report):
            self._found.require_attention()
        if progress.drift is not None:
            self._found.runs.append((report, progress.drift))
            if report.run is not None:
                progress.drift.clear()
                await list_drift(self._service, report, progress.drift)
        else:
            limit = MAX_SHOWN_ORPHANS if report.state == "held" else shown
            if report.run is not None:
                orphans = await first_orphans(self._service, report, min(limit, MAX_SHOWN_ORPHANS))
            else:
                orphans = progress.orphans[:limit] if proves_orphans(report) else []
            print_lines(*run_lines(report, progress.pace(report), orphans, shown=shown))
        if (hint := next_step(report)) is not None:
            print_message(f"interrupted: {hint}" if report.state == "interrupted" else hint)

    # --- pages ------------------------------------------------------------------------------------

    async def _fold(self, domains: Sequence[str], prefix: str) -> None:
        """Folds what was appended, and compares the pages."""
        if not self._chosen.dry_run:
            await self._catch_up(domains)
        await self._verify_pages(domains, prefix)

    async def _catch_up(self, domains: Sequence[str]) -> None:
        end = await self._shop.store.log.end()
        total = sum(end - each.position for each in await self._checkpoints(domains) if each.position < end)
        with share_meter("folding", total) as meter:

            async def watch() -> None:
                while True:
                    await anyio.sleep(POLL_SECONDS)
                    reached = await self._checkpoints(domains)
                    remaining = sum(end - each.position for each in reached if each.position < end)
                    meter.update(total - remaining, "appended events")

            async with run_beside(watch):
                await self._shop.catch_up(domains)

    async def _checkpoints(self, domains: Sequence[str]) -> list[Checkpoint]:
        found = {each.domain: each for each in await self._shop.store.coordination.checkpoints()}
        return [found.get(name, Checkpoint(name)) for name in domains]

    async def _check_indexes(self) -> None:
        """Raises `StoreDamaged` if an index is damaged: rows that it does not find would count as equal."""
        for damage in (await self._shop.store.inspect()).damage:
            raise StoreDamaged(self._shop.store.name, damage.what, damage.problem)

    async def _verify_pages(self, domains: Sequence[str] | None, prefix: str) -> None:
        started = time.monotonic()
        samples: list[SectionDrift] = []
        total = None if prefix else await section_count(self._shop, domains)
        with share_meter("pages", total) as meter:
            tally = DriftTally(meter, samples, MAX_SHOWN)

            def on_drift(drift: SectionDrift) -> None:
                tally.add(drift)
                self._found.add_section(drift)

            write = not self._chosen.dry_run
            pages = await self._shop.replay(
                domains,
                prefix=prefix,
                write=write,
                on_drift=on_drift,
                on_progress=tally.advance,
                processes=self._chosen.processes,
            )
        self._found.pages = pages
        if pages.changed and self._chosen.dry_run:
            self._found.require_attention()
        if not self._found.as_json:
            print_lines(self._pages_line(pages, time.monotonic() - started), *drift_lines(samples, pages.changed))

    def _pages_line(self, pages: ReplayResult, seconds: float) -> Text:
        have = "has" if pages.changed == 1 else "have"
        what = f"{have} drifted" if self._chosen.dry_run else "had drifted, folded again"
        drifted = f"{pages.changed:,} {what}" if pages.changed else "none has drifted"
        about = f"  {pace(pages.sections, 'section', seconds, complete=True)}: "
        return Text.assemble(
            ("pages", "bold"), about, (drifted, "red" if pages.changed else "green"), behind_text(pages)
        )
