"""The demo while it runs: a live table in a terminal, a line now and then everywhere else."""

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
from pagefold.engine.demo.observers import Listener, Pace, Storefront
from pagefold.engine.demo.source_feeds import Ledger
from pagefold.engine.reading.status import Status

PLAIN_WIDTH = 110
"""Columns where there is no terminal to ask."""

OUTCOME_STYLES = {"appended": "green", "duplicate": "cyan", "conflict": "yellow", "rejected": "magenta"}


@dataclass(kw_only=True, slots=True)
class DisplayState:
    """Everything there is to see. Whoever acts keeps it up to date, a screen looks at it."""

    title: str
    channels: dict[str, int]
    ledger: Ledger
    listener: Listener
    storefront: Storefront
    pace: Pace
    act: str = ""
    unit: str = ""
    done: int = 0
    total: int = 1
    status: Status | None = None
    lost: Counter[Loss] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.perf_counter() - self.started

    def begin(self, act: str, total: int, unit: str) -> None:
        """The next act, with all of its work before it."""
        self.act, self.total, self.unit, self.done = act, total, unit, 0

    def advance(self, amount: int) -> None:
        """So much more is done."""
        self.done += amount


class Screen(ABC):
    """Where the scene is shown. `pause` is how many seconds to leave between two looks."""

    pause: float

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Takes the console, and gives it back as it was."""
        yield

    @abstractmethod
    def show(self, scene: DisplayState) -> None:
        """Shows the scene as it is now."""

    def note(self, text: str) -> None:
        """Something worth a line of its own."""
        self._console.print(Text(text, style="yellow"))


class PlainScreen(Screen):
    """A line every now and then: for logs, pipes and screen readers."""

    pause = 2.0

    def show(self, scene: DisplayState) -> None:
        """One line."""
        outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in scene.ledger.outcomes.items())
        behind = sum(_lag(scene.status, domain.name) for domain in DOMAINS)
        folded = sum(scene.pace.rates.values())
        parts = [
            f"{scene.seconds:5.1f} s  {scene.act}: {scene.done:,}/{scene.total:,} {scene.unit}",
            outcomes,
            f"folded {folded:,.0f}/s",
            f"lag {behind:,}",
            f"ready {scene.storefront.ready.total():,} of {sum(scene.channels.values()):,} pages",
        ]
        if scene.lost:
            parts.append(_losses(scene))
        self._console.print(Text(" · ".join(parts)), soft_wrap=True)


class LiveScreen(Screen):
    """Tables that change in place."""

    pause = 0.125

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(
            console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False, vertical_overflow="crop"
        )

    @contextmanager
    def showing(self) -> Iterator[None]:
        """The cursor is hidden meanwhile; the last picture stays."""
        with self._live:
            yield

    def show(self, scene: DisplayState) -> None:
        """Draws everything."""
        self._live.update(picture(scene), refresh=True)


def screen_for(console: Console, *, plain: bool) -> Screen:
    """Live where somebody watches, plain elsewhere, or when asked for."""
    return LiveScreen(console) if console.is_terminal and not plain else PlainScreen(console)


def make_console(*, plain: bool, stderr: bool = False) -> Console:
    """A console that takes no text for markup. Without colours and escape codes when plain, or when nobody watches."""
    console = Console(stderr=stderr, markup=False, highlight=False, force_terminal=False if plain else None)
    if not console.is_terminal:
        console = Console(
            stderr=stderr, markup=False, highlight=False, force_terminal=False, color_system=None, width=PLAIN_WIDTH
        )
    return console


def picture(scene: DisplayState) -> RenderableType:
    """The whole live view: 21 lines, for the smallest terminals."""
    rows = (_headline(scene), Text(), _domains(scene), Text(), _channels(scene), Text(), _counters(scene))
    return Padding(Group(*rows), (1, 1))


def table_of(*columns: str, numbers: int = 0) -> Table:
    """A table in the demo's look. The last so many columns hold numbers."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold", show_edge=False)
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index >= len(columns) - numbers else "left", no_wrap=True)
    return table


def _headline(scene: DisplayState) -> RenderableType:
    finished = scene.done >= scene.total
    line = Table.grid(padding=(0, 2))
    line.add_row(
        Text(scene.act, style="bold green" if finished else "bold"),
        ProgressBar(total=scene.total, completed=scene.done, width=18, complete_style="cyan", finished_style="green"),
        Text(f"{scene.done:,} of {scene.total:,} {scene.unit}"),
        Text(f"{scene.seconds:.1f} s", style="dim"),
    )
    return Group(Text(scene.title, style="dim", no_wrap=True, overflow="ellipsis"), line)


def _domains(scene: DisplayState) -> Table:
    names = ("domain", "position", "lag", "events/s", "sections written", "applied", "stale", "dead")
    table = table_of(*names, numbers=7)
    for domain in scene.status.domains if scene.status else ():
        table.add_row(
            Text(domain.domain, style="bold"),
            f"{domain.checkpoint:,}",
            Text(f"{domain.lag_events:,}", style="yellow" if domain.lag_events else "green"),
            f"{scene.pace.rates.get(domain.domain, 0):,.0f}",
            f"{scene.listener.written[domain.domain]:,}",
            f"{domain.applied:,}",
            Text(f"{domain.stale:,}", style="dim"),
            Text(f"{domain.dead:,}", style="red" if domain.dead else "dim"),
        )
    return table


def _channels(scene: DisplayState) -> Table:
    table = table_of("channel", "pages ready", "", numbers=1)
    for channel, pages in scene.channels.items():
        ready = scene.storefront.ready[channel]
        bar = ProgressBar(total=pages, completed=ready, width=24, complete_style="green", finished_style="green")
        table.add_row(Text(channel, style="bold"), bar, f"{ready:,} of {pages:,}")
    return table


def _counters(scene: DisplayState) -> RenderableType:
    outcomes = Text(f"{scene.ledger.lines:,} lines: ")
    counts = [Text(f"{count:,} {outcome}", OUTCOME_STYLES[outcome]) for outcome, count in scene.ledger.outcomes.items()]
    outcomes.append_text(Text(", ").join(counts))
    letters = sum(domain.dead_letters + domain.conflicts for domain in scene.status.domains) if scene.status else 0
    others = Text(f"{letters:,} dead letters", style="yellow" if letters else "")
    others.append(f", {scene.storefront.reads:,} pages read by a storefront meanwhile", style="default")
    return Group(outcomes, others, Text(_losses(scene), style="red" if +scene.found else "dim"))


def _losses(scene: DisplayState) -> str:
    """What was lost on its way, and what the rebuild has found of it so far."""
    if not scene.lost:
        return ""
    found = [f"{count:,} {kind}{'s' * (kind == 'section')}" for kind, count in scene.found.items() if count]
    lost = f"{scene.lost.total() - scene.lost['garbled']:,} lines lost, {scene.lost['garbled']:,} garbled"
    return f"{lost}; drift found: {', '.join(found)}" if found else lost


def _lag(status: Status | None, name: str) -> int:
    return sum(domain.lag_events for domain in status.domains if domain.domain == name) if status else 0
