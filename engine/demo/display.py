"""Displays the running demo: live tables in a terminal, progress lines elsewhere."""

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pagefold.domains import DOMAINS
from pagefold.engine.demo.event_loss import Loss
from pagefold.engine.demo.observers import FoldRates, LogObserver, Storefront
from pagefold.engine.demo.source_feeds import Ledger
from pagefold.engine.reading.status import Status

PLAIN_WIDTH = 110
"""Columns if the output is not a terminal."""

OUTCOME_STYLES = {"appended": "green", "duplicate": "cyan", "conflict": "yellow", "rejected": "magenta"}


@dataclass(kw_only=True, slots=True)
class DisplayState:
    """Everything that is displayed. The demo keeps it up to date; a screen reads it."""

    title: str
    channels: dict[str, int]
    ledger: Ledger
    log_observer: LogObserver
    storefront: Storefront
    fold_rates: FoldRates
    step: str = ""
    unit: str = ""
    done: int = 0
    total: int = 1
    status: Status | None = None
    lost: Counter[Loss] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """The time since the demo began."""
        return time.perf_counter() - self.started

    def begin(self, step: str, total: int, unit: str) -> None:
        """Begins a step: its title, and its total in units."""
        self.step, self.total, self.unit, self.done = step, total, unit, 0

    def advance(self, amount: int) -> None:
        """Counts more units as done."""
        self.done += amount


class Screen(ABC):
    """Displays the state. `pause` is the time between two refreshes, in seconds."""

    pause: float

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Uses the console for the length of a `with` block."""
        yield

    @abstractmethod
    def show(self, display: DisplayState) -> None:
        """Displays the current state."""

    def note(self, text: str) -> None:
        """Prints a warning on a line of its own."""
        self._console.print(Text(text, style="yellow"))


class PlainScreen(Screen):
    """Prints a progress line every two seconds: for logs, pipes and screen readers."""

    pause = 2.0

    def show(self, display: DisplayState) -> None:
        """Prints one line."""
        outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in display.ledger.outcomes.items())
        lag = sum(_lag(display.status, domain.name) for domain in DOMAINS)
        folded = sum(display.fold_rates.rates.values())
        parts = [
            f"{display.seconds:5.1f} s  {display.step}: {display.done:,}/{display.total:,} {display.unit}",
            outcomes,
            f"folded {folded:,.0f}/s",
            f"lag {lag:,}",
            f"ready {display.storefront.ready.total():,} of {sum(display.channels.values()):,} pages",
        ]
        if display.lost:
            parts.append(_losses(display))
        self._console.print(Text(" · ".join(parts)), soft_wrap=True)


class LiveScreen(Screen):
    """Refreshes tables in place."""

    pause = 0.125

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(
            console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False, vertical_overflow="crop"
        )

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Hides the cursor meanwhile; the last state stays on the screen."""
        with self._live:
            yield

    def show(self, display: DisplayState) -> None:
        """Redraws everything."""
        self._live.update(render(display), refresh=True)


def screen_for(console: Console, *, plain: bool) -> Screen:
    """A live screen in a terminal, unless `plain`; a plain one elsewhere."""
    return LiveScreen(console) if console.is_terminal and not plain else PlainScreen(console)


def make_console(*, plain: bool, stderr: bool = False) -> Console:
    """A console that does not interpret markup, without colours and escape codes if plain or not a terminal."""
    console = Console(stderr=stderr, markup=False, highlight=False, force_terminal=False if plain else None)
    if not console.is_terminal:
        console = Console(
            stderr=stderr, markup=False, highlight=False, force_terminal=False, color_system=None, width=PLAIN_WIDTH
        )
    return console


def render(display: DisplayState) -> RenderableType:
    """The whole live view. It has 21 lines, so it fits the smallest terminals."""
    rows = (_headline(display), Text(), _domains(display), Text(), _channels(display), Text(), _counters(display))
    return Padding(Group(*rows), (1, 1))


def table_of(*columns: str, numbers: int = 0) -> Table:
    """A table in the demo's style. The last `numbers` columns are right-aligned."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold", show_edge=False)
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index >= len(columns) - numbers else "left", no_wrap=True)
    return table


def _headline(display: DisplayState) -> RenderableType:
    finished = display.done >= display.total
    line = Table.grid(padding=(0, 2))
    line.add_row(
        Text(display.step, style="bold green" if finished else "bold"),
        ProgressBar(
            total=display.total, completed=display.done, width=18, complete_style="cyan", finished_style="green"
        ),
        Text(f"{display.done:,} of {display.total:,} {display.unit}"),
        Text(f"{display.seconds:.1f} s", style="dim"),
    )
    return Group(Text(display.title, style="dim", no_wrap=True, overflow="ellipsis"), line)


def _domains(display: DisplayState) -> Table:
    names = ("domain", "position", "lag", "events/s", "sections written", "applied", "stale", "dead")
    table = table_of(*names, numbers=7)
    for domain in display.status.domains if display.status else ():
        table.add_row(
            Text(domain.domain, style="bold"),
            f"{domain.checkpoint:,}",
            Text(f"{domain.lag_events:,}", style="yellow" if domain.lag_events else "green"),
            f"{display.fold_rates.rates.get(domain.domain, 0):,.0f}",
            f"{display.log_observer.written[domain.domain]:,}",
            f"{domain.applied:,}",
            Text(f"{domain.stale:,}", style="dim"),
            Text(f"{domain.dead:,}", style="red" if domain.dead else "dim"),
        )
    return table


def _channels(display: DisplayState) -> Table:
    table = table_of("channel", "pages ready", "", numbers=1)
    for channel, pages in display.channels.items():
        ready = display.storefront.ready[channel]
        bar = ProgressBar(total=pages, completed=ready, width=24, complete_style="green", finished_style="green")
        table.add_row(Text(channel, style="bold"), bar, f"{ready:,} of {pages:,}")
    return table


def _counters(display: DisplayState) -> RenderableType:
    outcomes = Text(f"{display.ledger.lines:,} lines: ")
    counts = [
        Text(f"{count:,} {outcome}", OUTCOME_STYLES[outcome]) for outcome, count in display.ledger.outcomes.items()
    ]
    outcomes.append_text(Text(", ").join(counts))
    dead_letters = (
        sum(domain.dead_letters + domain.conflicts for domain in display.status.domains) if display.status else 0
    )
    others = Text(f"{dead_letters:,} dead letters", style="yellow" if dead_letters else "")
    others.append(f", {display.storefront.reads:,} pages read by a storefront", style="default")
    return Group(outcomes, others, Text(_losses(display), style="red" if +display.found else "dim"))


def _losses(display: DisplayState) -> str:
    """The lines lost in transit, and the drift that the rebuild has found so far."""
    if not display.lost:
        return ""
    found = [f"{count:,} {kind}{'s' * (kind == 'section')}" for kind, count in display.found.items() if count]
    lost = f"{display.lost.total() - display.lost['garbled']:,} lines lost, {display.lost['garbled']:,} garbled"
    return f"{lost}; drift found: {', '.join(found)}" if found else lost


def _lag(status: Status | None, name: str) -> int:
    return sum(domain.lag_events for domain in status.domains if domain.domain == name) if status else 0
