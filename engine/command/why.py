"""`pagefold why`: where each value of a page is from, and what stopped the others."""

import textwrap
from collections.abc import Collection, Sequence

import msgspec
import orjson
from rich.text import Text

import pagefold
from pagefold.engine.command.console import printable, results, shortened, write_bytes
from pagefold.engine.command.history import DRIFT_TEXTS
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options, UsageError, check_has_pages
from pagefold.engine.explanations.explanation import (
    ExplainedSection,
    ExplainedValue,
    OriginEvent,
    PageExplanation,
    Reason,
)
from pagefold.engine.explanations.selection import explanation_of
from pagefold.engine.runtime.event_loop import run
from pagefold.projections.streams import EVERY_CHANNEL, normalise_sku, sku_error

MAX_PATH_WIDTH = 30
MIN_VALUE_WIDTH = 20
MAX_EVENTS = 2
"""Events of one value that are listed unless somebody asks for it."""

MAX_VALUE = 40
MAX_WIDTH = 80
"""Longer lines are hard to read, also where there is room."""

STEP = 2

_PROBLEMS = {
    *("missing", "invalid", "unmapped", "incomplete", "disabled", "empty", "not-ready", "cannot-fold", "dead-letter"),
    *("waiting", "fetching", "not-folded", "not-applied", "wrong", "no-event", "unknown-source", "unknown-channel"),
}
"""Reasons that somebody may have to do something about."""

_WITH_PATH_ONLY = {"superseded", "not-stated"}
"""Reasons that are of interest to who asks for one value."""


def why(
    sku: str,
    channel: str,
    path: str | None = None,
    /,
    *,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Show where each value of a page is from, and why others are not there.

    Each value with the event that it is from, what else there would be, and why that does not count; why the page is
    not shown, or not ready; what has not arrived, or is not folded yet. The page is folded from the log for it, and
    compared with what is stored. Exit code 1 without a page, or if it is disabled.

    Parameters
    ----------
    sku
        The product.
    channel
        The storefront or marketplace.
    path
        Only one place of the page, and all that is in it: pricing, pricing.amount, catalog.attributes.name. A name
        alone is an attribute, or a field of the catalog such as categories.
    as_json
        Print one JSON object: sku, channel, status, ready, position, reasons, values, sections, events.
    """
    return run(lambda: _why(sku, channel, path, options, as_json=as_json))


async def _why(sku: str, channel: str, path: str | None, options: Options, *, as_json: bool) -> int:
    if (fault := sku_error(normalise_sku(sku))) is not None:
        raise UsageError("SKU", f"{printable(sku)!r} is not an SKU: {fault}")
    async with pagefold.open(options.load(), create=False) as shop:
        check_has_pages(channel, shop.applied)
        page = await shop.why(sku, channel)
    if path is not None:
        page = explanation_of(page, path)
    if as_json:
        write_bytes(msgspec.json.encode(page))
    else:
        _Text(page, whole=path is not None).show()
    return Exit.DONE if page.status == "live" else Exit.REFUSED


class _Text:
    """Prints an answer for people. `whole` shows everything that is known of each value."""

    def __init__(self, page: PageExplanation, *, whole: bool) -> None:
        self._page = page
        self._events = {event.position: event for event in page.events}
        self._whole = whole

    def show(self) -> None:
        """Prints it."""
        page = self._page
        state = page.status if page.status == "absent" else f"{page.status}, {_readiness(ready=page.ready)}"
        _print(Text.assemble((f"{printable(page.sku)} in {page.channel}", "bold"), f": {state}"))
        for each in page.reasons:
            if each.code != "not-ready":
                self._show_reason(each, STEP)
        if waiting := [each.detail for each in page.reasons if each.code == "not-ready"]:
            _line(f"not ready: {', '.join(waiting)}", STEP, "yellow")
        if self._whole:
            self._show_values(page.values, "", set())
        for section in page.sections:
            self._show_section(section)

    def _show_section(self, section: ExplainedSection) -> None:
        domain = section.domain
        state = section.state if section.state != "shown" else _readiness(ready=section.ready)
        required = "" if section.required or section.ready else ", not required"
        print()
        _print(Text.assemble((domain, "bold cyan"), f": {state}{required}"))
        self._show_reasons(section.reasons)
        listed = set() if self._whole else {each.event for each in section.reasons}
        self._show_values(section.values, domain, listed)
        absent = [(each.path, reasons) for each in section.absent if (reasons := self._shown(each.reasons))]
        if absent:
            _line("not on the page", STEP, "bold")
        for path, reasons in absent:
            _line(printable(path.removeprefix(f"{domain}.")), 2 * STEP)
            for each in reasons:
                self._show_reason(each, 3 * STEP)

    def _show_reasons(self, reasons: Sequence[Reason]) -> None:
        """Prints the reasons of a section. Of many events that do not count for the same one, it is said once."""
        alike: dict[tuple[str, str, str | None], list[Reason]] = {}
        for each in reasons:
            alike.setdefault((each.code, each.detail, each.dead_letter), []).append(each)
        for group in alike.values():
            events = [_short(self._events[each.event]) for each in group if each.event is not None]
            if len(events) > 1:
                _line(f"{group[0].text.removesuffix('.')}: {'; '.join(events)}", STEP, _style(group[0]))
            else:
                self._show_reason(group[0], STEP)

    def _show_values(self, values: Sequence[ExplainedValue], domain: str, listed: Collection[int | None]) -> None:
        """Prints values, those of the same events together. The section has `listed` why some events do not count."""
        by_events: dict[tuple[int, ...], list[ExplainedValue]] = {}
        for value in values:
            by_events.setdefault(tuple(dict.fromkeys(each.event for each in value.inputs)), []).append(value)
        for positions, group in by_events.items():
            if len(positions) > MAX_EVENTS and not self._whole:
                _line(f"of {len(positions)} events", STEP, "bold")
            else:
                for position in positions:
                    self._show_event(self._events[position])
            if not positions:
                _line("of no event", STEP, "bold")
            width = min(MAX_PATH_WIDTH, max(len(_name(each, domain)) for each in group))
            for value in group:
                self._show_value(value, _name(value, domain), width, listed)

    def _show_value(self, value: ExplainedValue, name: str, width: int, listed: Collection[int | None]) -> None:
        origin = _origin(value, name, whole=self._whole)
        shown = _written(value.value)
        head = f"{printable(name).ljust(width)}  "
        room = _width() - 2 * STEP - len(head)
        if self._whole or len(shown) <= room:
            _line(head + shown, 2 * STEP, hanging=len(head))
        else:
            _line(head + shortened(shown, max(room, MIN_VALUE_WIDTH)), 2 * STEP)
        if origin:
            _line(origin, 3 * STEP, "dim")
        if self._whole and value.how in {"computed", "contract"}:
            for each in value.inputs:
                source = self._events[each.event].source
                _line(f"{source} has {each.path or 'its name'}: {_written(each.value)}", 4 * STEP, "dim")
        for why_not in self._shown(value.reasons):
            if why_not.event is None or why_not.event not in listed:
                self._show_reason(why_not, 3 * STEP)

    def _shown(self, reasons: Sequence[Reason]) -> list[Reason]:
        return [each for each in reasons if self._whole or each.code not in _WITH_PATH_ONLY]

    def _show_reason(self, reason: Reason, indent: int) -> None:
        event = None if reason.event is None else self._events[reason.event]
        value = f" has {shortened(_written(reason.value), MAX_VALUE)}" if reason.path else ""
        parts = [
            "" if event is None else f"{_short(event)}{value}",
            reason.text.removesuffix("."),
            printable(reason.detail),
            "" if reason.dead_letter is None else f"`pagefold dead-letters show {reason.dead_letter}`",
        ]
        _line(": ".join(filter(None, parts)), indent, _style(reason))
        if event is not None and event.drift is not None:
            _line(_repair(event), indent + STEP, "magenta")

    def _show_event(self, event: OriginEvent) -> None:
        """The event that values are from, on one line; with everything, on some more."""
        channel = "" if event.channel == EVERY_CHANNEL else f" for {printable(event.channel)}"
        parent = "" if event.sku == self._page.sku else f", inherited from {printable(event.sku)}"
        where = f"{channel}{parent}, {_moment(event.occurred_at)}, position {event.position}"
        _line(_short_name(event) + where, STEP, "bold")
        if event.drift is not None:
            _line(_repair(event), 2 * STEP, "magenta")
        if event.corrects is not None:
            _line(f"by {printable(event.operator or '')}: corrects dead letter {event.corrects}", 2 * STEP, "magenta")
        if self._whole:
            correlation = f", correlation {printable(event.correlation_id)}" if event.correlation_id else ""
            _line(f"id {printable(event.id)}, recorded {_moment(event.recorded_at)}{correlation}", 2 * STEP, "dim")


def _readiness(*, ready: bool) -> str:
    return "ready" if ready else "not ready"


def _name(value: ExplainedValue, domain: str) -> str:
    return value.path.removeprefix(f"{domain}.") if domain else value.path


def _style(reason: Reason) -> str:
    return "yellow" if reason.code in _PROBLEMS else "dim"


def _origin(value: ExplainedValue, name: str, *, whole: bool) -> str:
    """How a value was made, if it is not simply what an event has at the same place."""
    paths = ", ".join(dict.fromkeys(printable(each.path) for each in value.inputs))
    match value.how:
        case "text":
            return f"from {paths}"
        case "stated":
            return "" if paths == name else f"from {paths}"
        case "contract":
            return f"by contract {printable(value.rule)}" + (f", from {paths}" if paths else "")
        case "requirements":
            return f"measured by {value.rule}"
        case "computed" if not whole and [each.value for each in value.inputs] == [value.value]:
            return ""
        case "computed" | "configuration" | "page":
            return value.rule


def _short_name(event: OriginEvent) -> str:
    epoch = f" of epoch {event.epoch}" if event.epoch else ""
    revision = f" (revision {event.revision})" if event.revision else ""
    return f"{printable(event.source)} version {event.version}{epoch}{revision}"


def _short(event: OriginEvent) -> str:
    channel = "" if event.channel == EVERY_CHANNEL else f" for {printable(event.channel)}"
    return f"{_short_name(event)}{channel}, position {event.position}"


def _repair(event: OriginEvent) -> str:
    assert event.drift is not None  # noqa: S101  # the callers have looked
    return f"by rebuild {event.run_id}: {DRIFT_TEXTS[event.drift]}"


def _moment(text: str) -> str:
    return text.replace("T", " ").replace(".000000", "")


def _written(value: object) -> str:
    return printable(value if isinstance(value, str) else orjson.dumps(value).decode())


def _width() -> int:
    return min(results().width, MAX_WIDTH)


def _line(text: str, indent: int, style: str = "", hanging: int = STEP) -> None:
    """Text below an indent, on as many lines as it needs."""
    room = max(_width() - indent, MIN_VALUE_WIDTH)
    for line in textwrap.wrap(text, room, subsequent_indent=" " * hanging, break_on_hyphens=False) or [""]:
        _print(Text.assemble(" " * indent, (line, style)))


def _print(line: Text) -> None:
    results().print(line, soft_wrap=True)
