"""The values of a page as the screen shows them: what is shown, who said it, and what decided that."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pagefold.engine.dashboard.formats import plural
from pagefold.engine.dashboard.screen import State
from pagefold.engine.explanations.explanation import (
    ExplainedSection,
    ExplainedValue,
    OriginEvent,
    PageExplanation,
    Reason,
    StoredState,
)
from pagefold.projections.explanations import ReasonCode

MAX_ROWS = 500
"""Values of one section that are shown; the JSON has all of them."""

BLOCKING: frozenset[ReasonCode] = frozenset(
    ["missing", "invalid", "unmapped", "incomplete", "disabled", "cannot-fold", "not-ready", "no-event", "wrong"]
)
"""Reasons that somebody has to do something about."""

WAITING: frozenset[ReasonCode] = frozenset(["dead-letter", "waiting", "fetching", "not-folded", "not-applied"])
"""Reasons that pass, or that wait for somebody elsewhere."""


class Link(NamedTuple):
    """One step of how a value came to be. `event` is what it is about, `dead_letter` an id."""

    kind: str
    text: str
    value: object = None
    event: OriginEvent | None = None
    dead_letter: str | None = None
    is_lost: bool = False


class ValueRow(NamedTuple):
    """A value, or one that is absent: where on the page, what, who said it, and the chain of decisions."""

    path: str
    value: object
    is_absent: bool
    said_by: str
    position: int | None
    note: str
    state: State | None
    chain: list[Link]


class SectionView(NamedTuple):
    """One domain of the page, with its state in words, and the dead letters that concern it."""

    domain: str
    state: State
    words: str
    sources: list[str]
    notes: list[Link]
    rows: list[ValueRow]
    dead_letters: list[str]
    is_ready: bool
    is_required: bool
    is_empty: bool
    stored: StoredState
    left_out: int


def section_views(page: PageExplanation) -> list[SectionView]:
    """The sections of an explained page."""
    events = {event.position: event for event in page.events}
    return [_section(section, events) for section in page.sections]


def domain_states(page: PageExplanation) -> list[tuple[str, str]]:
    """The domains of the fold strip, with `ready`, `not ready` or `not required`."""
    return [(each.domain, _fold_state(each)) for each in page.sections]


def missing_rows(sections: Sequence[SectionView]) -> list[ValueRow]:
    """What somebody has to fill, or to correct: what blocks first, then what only warns."""
    rows = [row for section in sections for row in section.rows if row.state in {"bad", "warn"}]
    return sorted(rows, key=lambda row: row.state != "bad")


def _fold_state(section: ExplainedSection) -> str:
    if section.ready:
        return "ready"
    return "not ready" if section.required else "not required"


def _section(section: ExplainedSection, events: Mapping[int, OriginEvent]) -> SectionView:
    rows = [_value_row(each, section, events) for each in section.values]
    rows += [row for each in section.absent if (row := _absent_row(each.path, each.reasons, section, events))]
    rows.sort(key=lambda row: (row.is_absent, row.path))
    sources = sorted({events[each.event].source for value in section.values for each in value.inputs})
    state, words = _state_of(section)
    letters = sorted(set(_dead_letters(section)))
    notes = [_reason_link(each, events) for each in section.reasons]
    return SectionView(
        domain=section.domain,
        state=state,
        words=words,
        sources=sources,
        notes=notes,
        rows=rows[:MAX_ROWS],
        dead_letters=letters,
        is_ready=section.ready,
        is_required=section.required,
        is_empty=section.state == "absent",
        stored=section.stored,
        left_out=max(0, len(rows) - MAX_ROWS),
    )


def _state_of(section: ExplainedSection) -> tuple[State, str]:
    """The state of a section, with how the stored one differs from what the log gives, if it does."""
    if section.stored == "wrong":
        return "bad", "Stored differently from what the log gives"
    if section.stored == "not-folded":
        return "move", f"{'Ready' if section.ready else 'Not ready'}, {plural(section.lag_events, 'event')} behind"
    if section.stored == "not-applied":
        return "held", "Folded under another configuration"
    return _state_in_log(section)


def _state_in_log(section: ExplainedSection) -> tuple[State, str]:
    if section.state == "absent":
        return ("bad" if section.required else "wait"), "Nothing has arrived"
    if section.state == "disabled":
        return "wait", "Disabled"
    if section.ready:
        return "ok", "Ready"
    return ("bad", "Not ready") if section.required else ("wait", "Not ready, not required")


def _value_row(value: ExplainedValue, section: ExplainedSection, events: Mapping[int, OriginEvent]) -> ValueRow:
    origins = list(dict.fromkeys(each.event for each in value.inputs))
    said_by = _said_by([events[each] for each in origins])
    state = _worst(value.reasons, is_ready=section.ready)
    note = next((each.text for each in value.reasons if each.code in BLOCKING), "")
    return ValueRow(
        value.path.removeprefix(f"{section.domain}."),
        value.value,
        is_absent=False,
        said_by=said_by or value.how,
        position=max(origins, default=None),
        note=note,
        state=state,
        chain=list(_chain(value, events)),
    )


def _absent_row(
    path: str, reasons: Sequence[Reason], section: ExplainedSection, events: Mapping[int, OriginEvent]
) -> ValueRow | None:
    """A value that is not there; None if only older versions had it."""
    shown = [each for each in reasons if each.code != "superseded"]
    if not shown:
        return None
    state = _worst(shown, is_ready=section.ready)
    note = next((each.text for each in shown if each.code in BLOCKING), shown[0].text)
    chain = [_reason_link(each, events) for each in shown]
    return ValueRow(
        path.removeprefix(f"{section.domain}."),
        None,
        is_absent=True,
        said_by="nobody",
        position=None,
        note=note,
        state=state,
        chain=chain,
    )


def _chain(value: ExplainedValue, events: Mapping[int, OriginEvent]) -> Iterator[Link]:
    """What is shown, how it was made, what it was made of, what does not count, and the events."""
    yield Link("shown", "", value.value)
    if value.rule or value.how not in {"stated", "text"}:
        yield Link("made", value.rule or value.how)
    for each in value.inputs:
        event = events[each.event]
        where = "for every channel" if event.channel == "*" else f"for {event.channel}"
        of_parent = "" if not each.path else f", as {each.path}"
        yield Link("counts", f"{event.source} {where}, version {event.version}{of_parent}", each.value, event)
    for reason in value.reasons:
        yield _reason_link(reason, events)


def _reason_link(reason: Reason, events: Mapping[int, OriginEvent]) -> Link:
    event = None if reason.event is None else events.get(reason.event)
    kind = "blocks" if reason.code in BLOCKING else "waits" if reason.code in WAITING else "does not"
    who = "" if event is None else f"{event.source}, version {event.version}: "
    detail = f" ({reason.detail})" if reason.detail else ""
    return Link(kind, f"{who}{reason.text}{detail}", reason.value, event, reason.dead_letter, is_lost=kind != "blocks")


def _worst(reasons: Sequence[Reason], *, is_ready: bool) -> State | None:
    """The state of a value: what blocks only warns where the section is ready all the same."""
    if any(each.code in BLOCKING for each in reasons):
        return "warn" if is_ready else "bad"
    return "warn" if any(each.code in WAITING for each in reasons) else None


def _said_by(events: Sequence[OriginEvent]) -> str:
    """The source and its version; only their number if there are several."""
    if len(events) == 1:
        return f"{events[0].source} @ {events[0].version:,}"
    sources = {event.source for event in events}
    if len(sources) == 1:
        return f"{sources.pop()}, {plural(len(events), 'event')}"
    return plural(len(sources), "source") if sources else ""


def _dead_letters(section: ExplainedSection) -> Iterator[str]:
    for reasons in (
        section.reasons,
        *(each.reasons for each in section.values),
        *(each.reasons for each in section.absent),
    ):
        yield from (each.dead_letter for each in reasons if each.dead_letter is not None)
