"""`pagefold demo`, as the command line has it: options in, tables or JSON out, an exit code."""

import shlex
import shutil
import signal
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import anyio
import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.text import Text

from engine.demo import generator
from engine.demo.display import make_console, screen_for
from engine.demo.rendering import tell
from engine.demo.report import Report
from engine.demo.run import Size, run

INTERRUPTED = 130

DEFAULT = Size()


def demo(  # noqa: PLR0913  # a command has an argument for each of its options
    *,
    skus: Annotated[int, Parameter(validator=Number(gte=100))] = DEFAULT.skus,
    changes: Annotated[int, Parameter(validator=Number(gte=0))] = DEFAULT.changes,
    seed: int = DEFAULT.seed,
    store: str | None = None,
    keep: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    plain: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Show a whole shop at work, live, in well under a minute.

    Five sources deliver a catalog and a day of changes, some of it late, out of order, twice, contradictory or broken.
    Consumers fold it into pages meanwhile, and a storefront reads them. In the end every page is compared with an
    independent model, byte for byte. Exits with 1 if a single one differs.

    Parameters
    ----------
    skus
        How many products the shop has, 100 or more. Each has a page in four channels.
    changes
        How many changes follow the catalog. Faults come on top.
    seed
        Another number gives another shop and another day, the same number the same.
    store
        An empty store to use, which is kept: postgresql://… or sqlite:///folder. By default a SQLite store is made in a
        temporary folder, and removed in the end; PAGEFOLD_STORE is not looked at.
    keep
        Keep the temporary store, and say where it is.
    json
        Print the report as JSON.
    plain
        Print plain lines even in a terminal: no colours, nothing that moves.
    """
    size = Size(skus=skus, changes=changes, seed=seed)
    progress, results = make_console(plain=plain, stderr=True), make_console(plain=plain)
    with _folder(keep=keep and store is None) as folder:
        url = store or f"sqlite:///{folder / 'store'}"
        report = _until_signal(lambda: run(size, url, screen_for(progress, plain=plain)))
        if report is None:
            progress.print("Stopped.")
            return INTERRUPTED
        if json:
            results.file.write(msgspec.json.encode(report).decode() + "\n")
        else:
            tell(report, results)
        if store is None:
            farewell = _way_in(folder, size, url, report) if keep else _remark(report)
            progress.print(Text(farewell, style="dim"), soft_wrap=keep)
    return 0 if report.ok else 1


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    """A temporary folder, which goes away in the end, whatever happens, unless it is to be kept."""
    folder = Path(tempfile.mkdtemp(prefix="pagefold-demo-"))
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _way_in(folder: Path, size: Size, url: str, report: Report) -> str:
    """Writes a configuration beside the store, and says how to look around."""
    file = folder / "pagefold.toml"
    file.write_text(generator.Shop(size.seed, size.skus).config(url), encoding="utf-8")
    sku = shlex.quote(report.product.sku)
    lines = (
        "The store is kept. To look around:",
        f"  export PAGEFOLD_CONFIG={shlex.quote(str(file))}",
        "  pagefold status",
        f"  pagefold get {sku} {report.product.channel}",
        f"  pagefold history {sku}",
        "  pagefold dead-letters list",
    )
    return "\n" + "\n".join(lines)


def _remark(report: Report) -> str:
    if report.ok:
        return "\nThe store is removed. `pagefold demo --keep` leaves it behind, to look around in."
    return f"\nThe store is removed. `pagefold demo --keep --seed {report.seed}` leaves it behind, to look into this."


def _until_signal(act: Callable[[], Awaitable[Report]]) -> Report | None:
    """What comes of it, or None when somebody stopped it. Errors come as they were raised, not in groups."""
    options = {"use_uvloop": find_spec("uvloop") is not None}
    try:
        return anyio.run(_with_signals, act, backend_options=options)
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


async def _with_signals(act: Callable[[], Awaitable[Report]]) -> Report | None:
    report = None
    async with anyio.create_task_group() as group:
        group.start_soon(_cancel_on_signal, group.cancel_scope)
        report = await act()
        group.cancel_scope.cancel()
    return report


async def _cancel_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()
            return
