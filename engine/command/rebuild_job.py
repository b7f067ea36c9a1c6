"""The work of `pagefold rebuild`: runs, one after the other, and then the pages."""

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
    SHOWN_ORPHANS,
    drift_item,
    first_orphans,
    list_drift,
    needs_attention,
    next_step,
    proves_orphans,
    run_lines,
    run_pieces,
)
from pagefold.engine.command.signals import stoppable
from pagefold.engine.command.verify import SHOWN, DriftTally, behind, drift_lines, rate, section_count, show_lines
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
from pagefold.engine.replay.replayer import ReplayResult, SectionDrift
from pagefold.engine.runtime.task_groups import run_beside
from pagefold.engine.shop import Shop
from pagefold.engine.snapshots.snapshot import Batch
from pagefold.engine.stores.store import Checkpoint

SECONDS_BETWEEN_LOOKS = 0.5

_NOTHING_DONE = (RebuildInProgress, RunNotResumable, RunTakenOver, UnknownRun)
"""Why there was no run, or none to go on with: somebody else is at it, or it is over."""

_Begin: TypeAlias = Callable[[RunObserver], Awaitable[RunReport]]


async def do(chosen: RebuildOptions, options: Options, *, as_json: bool) -> int:
    """Does what was asked for, and gives the exit code."""
    started = time.monotonic()
    with _Findings(as_json=as_json) as found:
        async with (
            pagefold.open(options.load(), create=False, killable=True) as shop,
            shop.rebuilds() as service,
            stoppable() as stop,
        ):
            job = _RebuildJob(shop, service, chosen, found)
            with stop.scope:
                await job.go()
            if stop:
                await job.interrupted()
        code = stop.exit_code if stop else found.code
        if as_json:
            write_pieces(found.pieces(time.monotonic() - started, code))
    return code


class _Findings:
    """What the command has found, and what its exit code is."""

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
        """A list for JSON, as long as the findings are there."""
        return self._lists.enter_context(JSONList())

    def needs_a_look(self) -> None:
        """Done, but."""
        self.code = max(self.code, Exit.REFUSED)

    def fail(self, source: str | None, error: PagefoldError) -> None:
        """Something went wrong, be it with one source: says what."""
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

    def tell(self, drift: SectionDrift) -> None:
        """A section has drifted."""
        if self.as_json:
            self._sections.add(msgspec.json.encode(drift))

    def pieces(self, seconds: float, code: int) -> Iterator[bytes]:
        """The JSON document."""
        yield b'{"runs":['
        for place, (report, drift) in enumerate(self.runs):
            yield b"," if place else b""
            yield from run_pieces(report, drift)
        yield b'],"pages":'
        if self.pages is None:
            yield b"null"
        else:
            yield msgspec.json.encode(self.pages)[:-1] + b',"drift":'
            yield from self._sections.pieces()
            yield b"}"
        yield b"," + orjson.dumps({"errors": self._errors, "seconds": seconds, "exitCode": code})[1:]


class _Watch(RunObserver):
    """Hears of a run: shows how far it is. Of a dry run, which is not recorded, it remembers what was found."""

    def __init__(self, drift: JSONList | None) -> None:
        self.meter: Meter | None = None
        self.run: str | None = None
        self.drift = drift
        self._started = time.monotonic()
        self._sorting = False
        self._begin()

    def _begin(self) -> None:
        self.rows = 0
        self.orphans: list[str] = []
        self._found = 0

    def begun(self, run_id: str) -> None:
        """The run has this name."""
        self.run = run_id

    def compared(self, rows: int, total: int) -> None:
        """The rows had to be sorted: all were read, and so many are compared."""
        if self.meter is not None:
            self.meter.update(rows, f"{count(rows, 'sorted row')} compared{self._so_far()}", total)

    def read(self, batch: Batch) -> None:
        """A batch of the snapshot was read."""
        self.rows += len(batch.rows)
        note = rate(self.rows, "row", self._started)
        if self._sorting:
            note += ", to be sorted"
        if self.meter is not None:
            self.meter.update(batch.done, note + self._so_far(), batch.total)

    def _so_far(self) -> str:
        return f", {self._found:,} drifted" if self._found else ""

    def found(self, drift: Finding, streams: Sequence[str]) -> None:
        """Streams have drifted in this way."""
        self._found += len(streams)
        if drift == "orphan":
            self.orphans += streams[: SHOWN_ORPHANS - len(self.orphans)]
        if self.drift is not None:
            for stream in streams:
                self.drift.add(drift_item(stream, drift))

    def start_over(self) -> None:
        """All of that does not count."""
        self._begin()
        self._started = time.monotonic()
        self._sorting = True
        if self.drift is not None:
            self.drift.clear()

    def pace(self, report: RunReport) -> str:
        """How many rows there were, and how fast they were read."""
        rows = report.counts.rows
        if report.seconds and self.rows == rows:
            return pace(rows, "row", report.seconds, complete=True)
        if report.seconds and self.rows:
            return f"{count(rows, 'row')}; read {pace(self.rows, 'row', report.seconds, complete=True)}"
        return count(rows, "row")


class _RebuildJob:
    """One call of the command: its runs, one after the other, and then the pages. People are told as it goes."""

    def __init__(self, shop: Shop, service: RebuildService, chosen: RebuildOptions, found: _Findings) -> None:
        self._shop = shop
        self._service = service
        self._chosen = chosen
        self._found = found
        self._at: tuple[str, _Watch] | None = None

    async def go(self) -> None:
        """Does everything. Raises `UsageError` and `ConfigurationError` before anything is done."""
        chosen = self._chosen
        try:
            if chosen.origin is not None:
                await self._inspect()
                await self._fold_again(chosen.domain, chosen.prefix)
            elif chosen.resume is not None:
                await self._resume(chosen.resume)
            else:
                await self._rebuild(self._sources())
        except StoreError as error:
            self._found.fail(None if self._at is None else self._at[0], error)
            if self._at is not None and not chosen.dry_run:
                print_message("`pagefold rebuilds list` shows the run, which can be resumed")

    async def interrupted(self) -> None:
        """Says what is left of it."""
        if self._chosen.dry_run:
            print_message("interrupted: nothing was changed")
        elif self._at is None:
            print_message("interrupted: `pagefold rebuild --from log` goes over the pages again")
        else:
            _, watch = self._at
            report = await self._begun(watch)
            if report is None:
                print_message("interrupted: no run was begun")
            else:
                await self._take(report, watch, shown=0)

    # --- runs -------------------------------------------------------------------------------------

    def _sources(self) -> list[str]:
        chosen = self._chosen
        sources = self._service.sources(chosen.source, chosen.domain)
        if sources:
            return sources
        configured = self._shop.config.sources
        if any(each.snapshot for each in configured.values()):
            raise UsageError("--domain", f"no source that is to be rebuilt has {' or '.join(chosen.domain or ())}")
        name = next(iter(configured), "erp")
        problem = (
            f"no source has a snapshot configured; write [sources.{name}.snapshot] and below it "
            f'file = "exports/{name}.ndjson", or url, or query. `--from log` needs none'
        )
        raise self._shop.config.error("sources", problem)

    async def _rebuild(self, sources: Sequence[str]) -> None:
        chosen = self._chosen
        order = RebuildRequest(
            domains=chosen.domain,
            prefix=chosen.prefix,
            max_orphans=chosen.max_orphans,
            confirmed=chosen.yes,
            dry_run=chosen.dry_run,
            new_epoch=chosen.new_epoch,
        )
        begun = [await self._attempt(name, partial(self._service.rebuild, name, order)) for name in sources]
        if any(begun):
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
            await self._take(report, _Watch(self._list()))
        else:
            confirmed = self._chosen.yes
            begun = await self._attempt(report.source, partial(self._service.resume, run_id, confirmed=confirmed))
            if not begun or (report.state == "held" and not confirmed):
                return
        await self._fold(report.domains, report.prefix)

    async def _attempt(self, source: str, begin: _Begin) -> bool:
        """Makes a run, and tells what became of it. Whether it has begun: if so, it may have appended something."""
        watch = _Watch(self._list())
        self._at = source, watch
        try:
            with share_meter(source) as watch.meter:
                report: RunReport | None = await begin(watch)
        except StoreError:
            raise
        except PagefoldError as error:
            self._found.fail(source, error)
            if isinstance(error, _NOTHING_DONE):
                self._at = None
                return False
            report = await self._begun(watch)
        with anyio.CancelScope(shield=True):  # the run is over: only telling of it is left
            if report is not None:
                await self._take(report, watch)
        self._at = None
        return True

    def _list(self) -> JSONList | None:
        return self._found.new_list() if self._found.as_json else None

    async def _begun(self, watch: _Watch) -> RunReport | None:
        """The run that was started or resumed, if it is recorded."""
        return None if watch.run is None else await self._service.report(watch.run)

    async def _take(self, report: RunReport, watch: _Watch, *, shown: int = SHOWN) -> None:
        """Tells of a run, with so many samples, and keeps it."""
        if needs_attention(report):
            self._found.needs_a_look()
        if watch.drift is not None:
            self._found.runs.append((report, watch.drift))
            if report.run is not None:
                watch.drift.clear()
                await list_drift(self._service, report, watch.drift)
        else:
            orphans = watch.orphans if report.run is None else await first_orphans(self._service, report)
            orphans = orphans[: SHOWN_ORPHANS if report.state == "held" else shown] if proves_orphans(report) else []
            show_lines(*run_lines(report, watch.pace(report), orphans, shown=shown))
        if (hint := next_step(report)) is not None:
            print_message(f"interrupted: {hint}" if report.state == "interrupted" else hint)

    # --- pages ------------------------------------------------------------------------------------

    async def _fold(self, domains: Sequence[str], prefix: str) -> None:
        """Folds what was appended, and goes over the pages."""
        if not self._chosen.dry_run:
            await self._catch_up(domains)
        await self._fold_again(domains, prefix)

    async def _catch_up(self, domains: Sequence[str]) -> None:
        end = await self._shop.store.log.end()
        left = sum(end - each.position for each in await self._checkpoints(domains) if each.position < end)
        with share_meter("folding", left) as meter:

            async def look() -> None:
                while True:
                    await anyio.sleep(SECONDS_BETWEEN_LOOKS)
                    reached = await self._checkpoints(domains)
                    still = sum(end - each.position for each in reached if each.position < end)
                    meter.update(left - still, "what was appended")

            async with run_beside(look):
                await self._shop.catch_up(domains)

    async def _checkpoints(self, domains: Sequence[str]) -> list[Checkpoint]:
        found = {each.domain: each for each in await self._shop.store.coordination.checkpoints()}
        return [found.get(name, Checkpoint(name)) for name in domains]

    async def _inspect(self) -> None:
        """Raises `StoreDamaged` where indexes are: what cannot be found by them would look as if all were well."""
        for damage in (await self._shop.store.inspect()).damage:
            raise StoreDamaged(self._shop.store.name, damage.what, damage.problem)

    async def _fold_again(self, domains: Sequence[str] | None, prefix: str) -> None:
        started = time.monotonic()
        samples: list[SectionDrift] = []
        total = None if prefix else await section_count(self._shop, domains)
        with share_meter("pages", total) as meter:
            tally = DriftTally(meter, samples, SHOWN)

            def tell(drift: SectionDrift) -> None:
                tally.tell(drift)
                self._found.tell(drift)

            write = not self._chosen.dry_run
            pages = await self._shop.replay(
                domains,
                prefix=prefix,
                write=write,
                on_drift=tell,
                on_progress=tally.advance,
                processes=self._chosen.processes,
            )
        self._found.pages = pages
        if pages.changed and self._chosen.dry_run:
            self._found.needs_a_look()
        if not self._found.as_json:
            show_lines(self._about_pages(pages, time.monotonic() - started), *drift_lines(samples, pages.changed))

    def _about_pages(self, pages: ReplayResult, seconds: float) -> Text:
        have = "has" if pages.changed == 1 else "have"
        what = f"{have} drifted" if self._chosen.dry_run else "had drifted, folded again"
        drifted = f"{pages.changed:,} {what}" if pages.changed else "none has drifted"
        about = f"  {pace(pages.sections, 'section', seconds, complete=True)}: "
        return Text.assemble(("pages", "bold"), about, (drifted, "red" if pages.changed else "green"), behind(pages))
