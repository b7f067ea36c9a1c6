"""`pagefold demo`: a whole shop at work, live, on a temporary store."""

import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.text import Text

from pagefold.engine.command.console import write_bytes
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options, UsageError
from pagefold.engine.command.signals import stoppable
from pagefold.engine.demo.display import make_console, screen_for
from pagefold.engine.demo.report_data import Report
from pagefold.engine.demo.report_text import print_report
from pagefold.engine.demo.scenario import Size, run_demo
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.runtime.extras import needs_extra

DEFAULT = Size()
CONFIGURATION = "pagefold.toml"

DEFAULT_PORT = 8080

SERVED_SKUS = 400
"""The products of a shop in motion: enough for every screen, and filled in three seconds."""


def demo(  # noqa: PLR0913  # the command's options
    *,
    skus: Annotated[int | None, Parameter(validator=Number(gte=100))] = None,
    changes: Annotated[int, Parameter(validator=Number(gte=0))] = DEFAULT.changes,
    seed: int = DEFAULT.seed,
    keep: Annotated[bool, Parameter(show_default=False)] = False,
    plain: Annotated[bool, Parameter(show_default=False)] = False,
    serve: Annotated[bool, Parameter(show_default=False)] = False,
    port: Annotated[int | None, Parameter(validator=Number(gte=0, lte=65_535))] = None,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Show a whole shop at work. Its help is the docstring of `pagefold.engine.demo`.

    Parameters
    ----------
    skus
        The number of products, 100 or more; 2,000 unless given. Each has a page in four channels.
    changes
        The number of changes after the catalog. Faults come in addition.
    seed
        The seed of all random choices: the same number gives the same shop and the same events.
    keep
        Keep the temporary store, and print where it is.
    plain
        Print plain lines even on a terminal: no colours, no animation.
    serve
        Serve the dashboard of a shop in motion instead, until Ctrl-C: changes come in all the time, and some things
        need a person. Its address is printed. 400 products, unless --skus says another number.
    port
        With --serve: the port, 8080 unless given; 0 chooses a free one.
    as_json
        Print the report as one JSON document.
    """
    if options.config is not None:
        raise UsageError("--config", "the demo brings its own configuration")
    if port is not None and not serve:
        raise UsageError("--port", "goes with --serve")
    if serve and (as_json or plain):
        raise UsageError("--serve", "reports nothing; --json and --plain cannot be combined with it")
    if serve:
        return _serve(skus, seed, DEFAULT_PORT if port is None else port, options, keep=keep)
    size = Size(skus=skus or DEFAULT.skus, changes=changes, seed=seed)
    with _demo_store(options.store, size, keep=keep) as demo_store:
        return run(lambda: _demo(size, demo_store, plain=plain, as_json=as_json))


def _serve(skus: int | None, seed: int, port: int, options: Options, *, keep: bool) -> int:
    with needs_extra("demo --serve", "server"):
        from pagefold.engine.command.demo_server import serve_demo  # noqa: PLC0415  # the demo alone needs no server
    size = Size(skus=skus or SERVED_SKUS, seed=seed)
    options.start_logging("error")
    with _demo_store(options.store, size, keep=keep) as demo_store:
        folder = demo_store.snapshots.parent
        return run(lambda: serve_demo(size.sample(), demo_store.url, folder, port))


class _DemoStore(NamedTuple):
    """The store and the snapshots of a demo. `folder` is None if the store was given, with --store."""

    url: str
    folder: Path | None
    snapshots: Path
    keep: bool

    def closing_message(self, report: Report) -> str:
        """What happens to the store now, and what to do with it."""
        if self.folder is None:
            return f"The store is kept: {report.store}."
        if self.keep:
            return _next_steps(self.folder / CONFIGURATION, report)
        if report.ok:
            return "The store is removed. `pagefold demo --keep` keeps it, to explore."
        return f"The store is removed. `pagefold demo --keep --seed {report.seed}` keeps it, to investigate this."


@contextmanager
def _demo_store(store: str | None, size: Size, *, keep: bool) -> Iterator[_DemoStore]:
    """The given store, or one in a temporary folder, which is removed at the end unless it is to be kept."""
    folder = Path(tempfile.mkdtemp(prefix="pagefold-demo-"))
    stays = keep and store is None
    try:
        snapshots = folder / "snapshots"
        snapshots.mkdir()
        if store is not None:
            yield _DemoStore(store, None, snapshots, keep=True)
            return
        url = f"sqlite:///{folder / 'store'}"
        (folder / CONFIGURATION).write_text(size.sample().config(url, snapshots), encoding="utf-8")
        yield _DemoStore(url, folder, snapshots, keep)
    finally:
        if not stays:
            shutil.rmtree(folder, ignore_errors=True)


async def _demo(size: Size, demo_store: _DemoStore, *, plain: bool, as_json: bool) -> int:
    report = None
    progress = make_console(plain=plain, stderr=True)
    async with stoppable() as stop:
        with stop.scope:
            report = await run_demo(size, demo_store.url, demo_store.snapshots, screen_for(progress, plain=plain))
    if report is None:
        if demo_store.folder is not None and demo_store.keep:
            progress.print(Text(f"The unfinished store is kept in {demo_store.folder}."), soft_wrap=True)
        return stop.exit_code
    if as_json:
        write_bytes(msgspec.json.encode(report))
    else:
        print_report(report, make_console(plain=plain))
    progress.print()
    progress.print(Text(demo_store.closing_message(report), style="dim"), soft_wrap=demo_store.keep)
    return Exit.DONE if report.ok else Exit.REFUSED


def _next_steps(configuration: Path, report: Report) -> str:
    """The commands with which to explore the store."""
    sku = shlex.quote(report.product.sku)
    lines = (
        "The store is kept. To explore it:",
        f"  export PAGEFOLD_CONFIG={shlex.quote(str(configuration))}",
        "  pagefold status",
        f"  pagefold get {sku} {report.product.channel}",
        f"  pagefold history {sku}",
        "  pagefold dead-letters list",
        "  pagefold rebuilds list",
        "  pagefold rebuild",
    )
    return "\n".join(lines)
