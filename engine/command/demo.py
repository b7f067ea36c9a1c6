"""`pagefold demo`: a whole shop at work, live, on a throwaway store."""

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
from pagefold.engine.demo.report_text import tell
from pagefold.engine.demo.scenario import Size, play
from pagefold.engine.runtime.event_loop import run

DEFAULT = Size()
CONFIGURATION = "pagefold.toml"


def demo(  # noqa: PLR0913  # a command has an argument for each of its options
    *,
    skus: Annotated[int, Parameter(validator=Number(gte=100))] = DEFAULT.skus,
    changes: Annotated[int, Parameter(validator=Number(gte=0))] = DEFAULT.changes,
    seed: int = DEFAULT.seed,
    keep: Annotated[bool, Parameter(show_default=False)] = False,
    plain: Annotated[bool, Parameter(show_default=False)] = False,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Show a whole shop at work; the package's own docstring tells the story.

    Parameters
    ----------
    skus
        How many products the shop has, 100 or more. Each has a page in four channels.
    changes
        How many changes follow the catalog. Faults come on top.
    seed
        Another number gives another shop and another day, the same number the same.
    keep
        Keep the temporary store, and say where it is.
    plain
        Plain lines even in a terminal: no colours, nothing that moves.
    as_json
        Print the report as one JSON document.
    """
    if options.config is not None:
        raise UsageError("--config", "the demo brings its own configuration")
    size = Size(skus=skus, changes=changes, seed=seed)
    with _place(options.store, size, keep=keep) as place:
        return run(lambda: _demo(size, place, plain=plain, as_json=as_json))


class _Place(NamedTuple):
    """Where the demo happens. `folder` is None for a store that was there before. `snapshots` is a folder."""

    url: str
    folder: Path | None
    snapshots: Path
    keep: bool

    def farewell(self, report: Report) -> str:
        """What becomes of the store now, and what to do with it."""
        if self.folder is None:
            return f"Everything is kept in {report.store}."
        if self.keep:
            return _way_in(self.folder / CONFIGURATION, report)
        if report.ok:
            return "The store is removed. `pagefold demo --keep` leaves it behind, to look around in."
        return f"The store is removed. `pagefold demo --keep --seed {report.seed}` leaves it behind, to look into this."


@contextmanager
def _place(store: str | None, size: Size, *, keep: bool) -> Iterator[_Place]:
    """The given store, or one in a temporary folder, which goes away in the end, whatever happens, unless kept."""
    folder = Path(tempfile.mkdtemp(prefix="pagefold-demo-"))
    stays = keep and store is None
    try:
        snapshots = folder / "snapshots"
        snapshots.mkdir()
        if store is not None:
            yield _Place(store, None, snapshots, keep=True)
            return
        url = f"sqlite:///{folder / 'store'}"
        (folder / CONFIGURATION).write_text(size.story().config(url, snapshots), encoding="utf-8")
        yield _Place(url, folder, snapshots, keep)
    finally:
        if not stays:
            shutil.rmtree(folder, ignore_errors=True)


async def _demo(size: Size, place: _Place, *, plain: bool, as_json: bool) -> int:
    report = None
    progress = make_console(plain=plain, stderr=True)
    async with stoppable() as stop:
        with stop.scope:
            report = await play(size, place.url, place.snapshots, screen_for(progress, plain=plain))
    if report is None:
        if place.folder is not None and place.keep:
            progress.print(Text(f"What there is of the store is kept in {place.folder}."), soft_wrap=True)
        return stop.exit_code
    if as_json:
        write_bytes(msgspec.json.encode(report))
    else:
        tell(report, make_console(plain=plain))
    progress.print()
    progress.print(Text(place.farewell(report), style="dim"), soft_wrap=place.keep)
    return Exit.DONE if report.ok else Exit.REFUSED


def _way_in(configuration: Path, report: Report) -> str:
    """How to look around."""
    sku = shlex.quote(report.product.sku)
    lines = (
        "The store is kept. To look around:",
        f"  export PAGEFOLD_CONFIG={shlex.quote(str(configuration))}",
        "  pagefold status",
        f"  pagefold get {sku} {report.product.channel}",
        f"  pagefold history {sku}",
        "  pagefold dead-letters list",
        "  pagefold rebuilds list",
        "  pagefold rebuild",
    )
    return "\n".join(lines)
