"""What needs a person, the most urgent first: each a sentence, its consequence, a command and a button."""

from collections.abc import Sequence
from typing import NamedTuple

from pagefold.engine.dashboard.addresses import command, href
from pagefold.engine.dashboard.formats import plural
from pagefold.engine.dashboard.overview_tiles import HELD, cause_address
from pagefold.engine.dashboard.screen import State
from pagefold.engine.dead_letters.dead_letter_views import CauseSummary
from pagefold.engine.kpis.readings import KpiReading, shown

MAX_TASKS = 20
MAX_CAUSES = 5
"""Causes of dead letters that are tasks of their own; the others are one."""

_ORDER: tuple[State, ...] = ("bad", "held", "warn")


class Task(NamedTuple):
    """Something that a person has to do. `subject` is what it is about, before the rest of the sentence."""

    state: State
    subject: str
    sentence: str
    consequence: str
    command: list[str]
    button: str
    address: str


def tasks_of(readings: Sequence[KpiReading], causes: Sequence[CauseSummary]) -> list[Task]:
    """The tasks: one for each crossed limit and for each cause of dead letters."""
    found = [_task_of(each) for each in readings if each.crossed and each.kpi != "dead-letters"]
    found += [_task_of_cause(each) for each in causes[:MAX_CAUSES]]
    if len(causes) > MAX_CAUSES:
        found.append(_other_causes(causes[MAX_CAUSES:]))
    return sorted(found, key=lambda task: _ORDER.index(task.state))


def _task_of(reading: KpiReading) -> Task:
    state: State = "held" if reading.kpi in HELD else "bad" if reading.severity == "critical" else "warn"
    subject, sentence = _sentence(reading)
    meaning = reading.definition.meaning
    consequence = f"{meaning[0].upper()}{meaning[1:]}."
    return Task(
        state, subject, sentence, consequence, _words(reading.command), _button(reading), cause_address(reading)
    )


_SENTENCES = {
    "lag": ("{label}", "is {value} late"),
    "queue": ("{label}", "has {value} waiting, limit {limit}"),
    "failures": ("{value} of all events fail", "or are rejected, limit {limit}"),
    "conflicts": ("{value} of all events", "have versions that are stored with other content, limit {limit}"),
    "drift": ("{value} of the compared pages", "differ from the log, limit {limit}"),
    "throttled": ("{label}", "answers 429: {value}, limit {limit}"),
    "refused": ("{value} requests", "are refused, limit {limit}"),
    "expiring": ("{value} open dead letters", "lose their content within a week"),
    "source-overdue": ("{label}", "should have been asked {value} ago"),
    "looks-reset": ("{label}", "looks reset: {value} events in a row were older than the stored ones"),
    "held-runs": ("{label}", "has {value} held: it would remove more than it may"),
    "failed-rebuilds": ("{label}", "has {value} that failed, the newest among them"),
    "not-applied": ("The configuration", "of the file is not applied"),
    "unmapped": ("{label}", "sends {value} new, which no contract maps"),
    "schema-drift": ("{label}", "has changed {value} of its records"),
    "checks": ("The check {label}", "fails"),
}
"""What a person would say aloud about a crossed limit, by key figure: the subject, and the rest."""

_NOUNS = {
    "held-runs": ("run", "runs"),
    "failed-rebuilds": ("rebuild", "rebuilds"),
    "unmapped": ("attribute", "attributes"),
    "schema-drift": ("field", "fields"),
}


def _sentence(reading: KpiReading) -> tuple[str, str]:
    """The subject of a sentence about a crossed limit, and its rest."""
    value = shown(reading.value, reading.unit)
    if reading.kpi in _NOUNS:
        value = plural(int(reading.value or 0), *_NOUNS[reading.kpi])
    given = {"label": reading.label, "value": value, "limit": shown(reading.threshold, reading.unit)}
    subject, rest = _SENTENCES.get(reading.kpi, (reading.title, "is {value}, limit {limit}"))
    return subject.format(**given), rest.format(**given)


def _button(reading: KpiReading) -> str:
    match reading.kpi:
        case "not-applied":
            return "Open plan"
        case "held-runs":
            return "See sample"
        case _:
            return "Open cause"


def _task_of_cause(cause: CauseSummary) -> Task:
    letters = f"{cause.letters:,}{'+' if cause.more else ''}"
    noun = "dead letter" if cause.letters == 1 else "dead letters"
    words = command("dead-letters", "list", "--cause", cause.cause)
    address = href("dead-letters", cause=cause.cause)
    return Task(
        "warn", f"{letters} {noun}", f"of {cause.source}: {cause.text}", cause.error, words, "Open cause", address
    )


def _other_causes(causes: Sequence[CauseSummary]) -> Task:
    letters = sum(each.letters for each in causes)
    sentence = f"of {plural(len(causes), 'other cause')}"
    words = command("dead-letters", "causes")
    return Task("warn", plural(letters, "other dead letter"), sentence, "", words, "Open list", href("dead-letters"))


def _words(text: str) -> list[str]:
    return text.split(" ")
