"""Differences of pages, as text: counts by channel, fields, and pages. And the progress of finding them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

from rich.text import Text

from pagefold.engine.command.console import count, pace, printable, show_table
from pagefold.engine.command.progress import share_meter
from pagefold.engine.command.verify import change_lines, print_lines, rate
from pagefold.engine.plans.page_changes import Effect, PageChange
from pagefold.engine.plans.plan import ChannelPlan, Plan
from pagefold.engine.plans.planner import OnPlanned, PlannedRange

MAX_SHOWN_SAMPLES = 5
MAX_SHOWN_FIELDS = 10

EFFECTS: tuple[Effect, ...] = get_args(Effect)


@contextmanager
def comparison_meter(title: str, sections: int, verb: str) -> Iterator[OnPlanned]:
    """A progress bar of a comparison of so many sections. `verb` is what pages do that differ."""
    started = time.monotonic()
    done = changed = 0
    with share_meter(title, sections) as meter:

        def advance(planned: PlannedRange) -> None:
            nonlocal done, changed
            done += planned.sections
            changed += planned.plan.changed
            meter.update(done, f"{rate(done, 'section', started)}, {_pages(changed, verb)}")

        yield advance


def show_counts(plan: Plan, seconds: float | None, verb: str, nothing: str) -> None:
    """Prints how many pages differ, by channel, and the fields that differ in most of them.

    `seconds` is how long that took, if it is known; `verb` is what such pages do, `nothing` what is said if there are
    none.
    """
    skus = count(plan.skus, "product") if seconds is None else pace(plan.skus, "product", seconds, complete=True)
    compared = f"{skus}, {count(plan.live, 'live page')}"
    if not plan.changed:
        print_lines(Text(f"{compared}: {nothing}"))
        return
    print_lines(Text(f"{compared}: {_pages(plan.changed, verb)}"), Text())
    shown = [effect for effect in EFFECTS if any(effect in each.effects for each in plan.channels.values())]
    columns = ("live", "changed", *map(_words, shown), "loses something")
    rows = ([printable(name), *_numbers(each, shown)] for name, each in sorted(plan.channels.items()) if each.changed)
    show_table(("channel", *columns), rows, numbers=columns)
    if fields := [*_field_lines(plan)]:
        print_lines(Text(), *fields)


def show_samples(plan: Plan) -> None:
    """Prints some of the pages that differ, if any does, below an empty line."""
    if plan.samples:
        print_lines(Text())
    for sample in plan.samples[:MAX_SHOWN_SAMPLES]:
        show_page(sample)


def show_page(change: PageChange, limit: int = MAX_SHOWN_FIELDS) -> None:
    """Prints a page that differs, with up to `limit` fields that do."""
    effects = ", ".join(map(_words, change.effects)) or "changed"
    title = f"{printable(change.sku)}  {printable(change.channel)}  "
    print_lines(Text.assemble("  ", (title, "bold"), effects), *change_lines(change.fields, limit))


def _pages(number: int, verb: str) -> str:
    return f"{count(number, 'page')} {verb}{'s' if number == 1 else ''}"


def _words(effect: Effect) -> str:
    return effect.replace("_", " ")


def _numbers(channel: ChannelPlan, shown: list[Effect]) -> list[str]:
    effects = [channel.effects.get(effect, 0) for effect in shown]
    return [f"{number:,}" for number in (channel.live, channel.changed, *effects, channel.taken)]


def _field_lines(plan: Plan) -> Iterator[Text]:
    """The fields that differ in most pages."""
    fields: dict[str, int] = {}
    for channel in plan.channels.values():
        for name, number in channel.fields.items():
            fields[name] = fields.get(name, 0) + number
    ranked = sorted(fields.items(), key=lambda field: (-field[1], field[0]))
    for name, number in ranked[:MAX_SHOWN_FIELDS]:
        yield Text(f"  {printable(name)}  {count(number, 'page')}")
    if len(ranked) > MAX_SHOWN_FIELDS:
        yield Text(f"  … and {count(len(ranked) - MAX_SHOWN_FIELDS, 'more field')}", style="dim")
