"""What a plan says to people: one sentence, its numbers, and what becomes of fields. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from pagefold.domains.domain import JSON
from pagefold.engine.configuration.page_settings import PageSettings
from pagefold.engine.dashboard.formats import plural
from pagefold.engine.dashboard.screen import State
from pagefold.engine.plans.kept_plans import KeptPlan
from pagefold.engine.plans.plan import BRAKE, CHANGED, ChannelPlan, Plan
from pagefold.engine.stores.plan_records import PlanRecord
from pagefold.projections.field_changes import FieldChange, changes_between, flatten

TAKEN_EFFECTS: Mapping[str, str] = {
    "removed": "gone",
    "disabled": "disabled",
    "unready": "newly unready",
    "emptied": "lose a value",
    "source_lost": "lose a source",
}
"""Effects that take something away, and what pages do or are then."""

GIVEN_EFFECTS: Mapping[str, str] = {"added": "new", "enabled": "enabled", "ready": "newly ready"}

MAX_FIELDS = 12
"""Fields that are shown, those that differ in most pages."""


class PlanVerdict(NamedTuple):
    """One sentence, and what follows from it."""

    state: State
    title: str
    text: str


class FieldRow(NamedTuple):
    """A field that differs: in how many pages, and an example of a change, if a sample has one."""

    name: str
    pages: int
    example: FieldChange | None


def verdict_of(kept: KeptPlan, number: int) -> PlanVerdict:
    """What a plan comes to, while the configuration with this number counts."""
    record, plan = kept.record, kept.saved.plan
    if record.state != "open":
        by = f"by {record.decided_by}: {record.reason}"
        if record.state == "applied":
            return PlanVerdict("ok", f"It was applied, and {_changed(plan)}", f"Applied {by}.")
        return PlanVerdict("wait", "It was refused, and nothing has changed", f"Refused {by}.")
    if record.number != number:
        text = f"It began from configuration {record.number}, and configuration {number} counts now. Plan again."
        return PlanVerdict("wait", "It is out of date", text)
    if not plan.changed:
        return PlanVerdict("ok", "It changes no page", "Applying it only records what counts.")
    if not plan.taken:
        return PlanVerdict("ok", f"It takes nothing away, and {_changed(plan)}", "Nothing has changed yet.")
    brake = BRAKE.limit(plan.live)
    held = plan.excess
    limit = f", and the brake is at {brake:,}" if held else f"; the brake is at {brake:,}"
    title = f"It takes something from {plural(plan.taken, 'live page')}{limit}"
    going_on = f"Workers go on under configuration {number}, and nothing has changed."
    return PlanVerdict("held" if held else "warn", title, f"{_taken_words(plan)}. {going_on}")


def _changed(plan: Plan) -> str:
    return f"{plural(plan.changed, 'page')} {'changes' if plan.changed == 1 else 'change'}"


def _taken_words(plan: Plan) -> str:
    """What is taken away, such as `3,102 disabled, 412 newly unready`."""
    effects = all_effects(plan)
    parts = [f"{effects[name]:,} {words}" for name, words in TAKEN_EFFECTS.items() if effects.get(name)]
    return ", ".join(parts)


def all_effects(plan: Plan) -> dict[str, int]:
    """The pages of every effect, in all channels; below `changed` those that change otherwise."""
    found: dict[str, int] = {}
    for channel in plan.channels.values():
        for name, pages in effects_of(channel).items():
            found[name] = found.get(name, 0) + pages
    return found


def effects_of(channel: ChannelPlan) -> dict[str, int]:
    """The pages of every effect in a channel; below `changed` all that differ."""
    return {**channel.effects, CHANGED: channel.changed}


def field_rows(plan: Plan) -> tuple[list[FieldRow], int]:
    """The fields that differ in most pages, and how many more there are."""
    fields: dict[str, int] = {}
    for channel in plan.channels.values():
        for name, pages in channel.fields.items():
            fields[name] = fields.get(name, 0) + pages
    ranked = sorted(fields.items(), key=lambda field: (-field[1], field[0]))
    rows = [FieldRow(name, pages, _example(plan, name)) for name, pages in ranked[:MAX_FIELDS]]
    return rows, len(ranked) - len(rows)


def _example(plan: Plan, name: str) -> FieldChange | None:
    return next((each for sample in plan.samples for each in sample.fields if each.path == name), None)


def setting_changes(before: PageSettings | None, after: PageSettings) -> list[FieldChange]:
    """What is different in two configurations, by dotted key."""
    old = {} if before is None else _leaves(before)
    return changes_between(old, _leaves(after))


def _leaves(settings: PageSettings) -> dict[str, JSON]:
    document: JSON = msgspec.to_builtins(settings.written)
    return flatten(document)


def state_of(record: PlanRecord, number: int) -> tuple[State, str]:
    """The state of a plan in a list, and its word."""
    if record.state != "open":
        return ("ok", "Applied") if record.state == "applied" else ("wait", "Refused")
    return ("held", "Waits") if record.number == number else ("wait", "Out of date")
