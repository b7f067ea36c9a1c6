"""What needs a person, the most urgent first: each a sentence, its consequence, a command and a button."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pagefold.engine.dashboard.addresses import command, href
from pagefold.engine.dashboard.formats import plural
from pagefold.engine.dashboard.letter_values import runbook_of
from pagefold.engine.dashboard.overview_tiles import URGENCY, cause_address, state_of
from pagefold.engine.dashboard.screen import State
from pagefold.engine.dead_letters.dead_letter_views import CauseSummary
from pagefold.engine.kpis.readings import KpiReading, shown

MAX_TASKS = 20
MAX_CAUSES = 5
"""Causes of dead letters that are tasks of their own; the others are one."""


class Task(NamedTuple):
    """Something that a person has to do. `subject` is what it is about, before the rest of the sentence.

    `runbook` is the section of the runbooks about it.
    """

    state: State
    subject: str
    sentence: str
    consequence: str
    command: list[str]
    button: str
    address: str
    runbook: str


def tasks_of(readings: Sequence[KpiReading], causes: Sequence[CauseSummary]) -> list[Task]:
    """The tasks: one for each crossed limit and for each cause of dead letters."""
    found = [_task_of(each) for each in readings if each.crossed and each.kpi != "dead-letters"]
    found += [_task_of_cause(each) for each in causes[:MAX_CAUSES]]
    if len(causes) > MAX_CAUSES:
        found.append(_other_causes(causes[MAX_CAUSES:]))
    return sorted(found, key=lambda task: URGENCY.index(task.state))


def _task_of(reading: KpiReading) -> Task:
    subject, sentence = sentence_of(reading)
    meaning = reading.definition.meaning
    consequence = f"{meaning[0].upper()}{meaning[1:]}."
    return Task(
        state=state_of([reading]),
        subject=subject,
        sentence=sentence,
        consequence=consequence,
        command=reading.command.split(" "),
        button=_button(reading),
        address=cause_address(reading),
        runbook=reading.runbook,
    )


_SENTENCES: Mapping[str, tuple[str, str]] = {
    "lag": ("{label}", "is {value} late"),
    "queue": ("The queue {label}", "has {number} entries, limit {limit}"),
    "failures": ("{value} of all events fail", "or are rejected, limit {limit}"),
    "conflicts": ("{value} of all events", "have versions that are stored with other content, limit {limit}"),
    "drift": ("{value} of the compared pages", "differ from the log, limit {limit}"),
    "throttled": ("{label}", "answers 429 {number} times a minute, limit {limit}"),
    "refused": ("{number} requests a minute", "are refused, limit {limit}"),
    "expiring": ("{number} open dead letters", "lose their content within a week"),
    "source-overdue": ("{label}", "should have been asked {value} ago"),
    "looks-reset": ("{label}", "looks reset: {number} events in a row were older than the stored ones"),
    "held-runs": ("{label}", "has {number} runs held: they would remove more than they may"),
    "failed-rebuilds": ("{label}", "has {number} rebuilds that failed, the newest among them"),
    "not-applied": ("The configuration", "of the file is not applied"),
    "unmapped": ("{label}", "sends {number} new attributes, which no contract maps"),
    "schema-drift": ("{label}", "has changed {number} fields of its records"),
    "delivery-failures": ("{label}", "refuses {value} of what it is sent, limit {limit}"),
    "delivery-queue": ("For {label}", "{number} pages wait to be delivered, limit {limit}"),
    "delivery-lag": ("{label}", "has not got a change of {value} ago, limit {limit}"),
    "delivery-throttled": ("{label}", "answers 429 {number} times a minute, limit {limit}"),
    "outbound-drift": ("{label}", "holds {value} of its pages otherwise than the shop, limit {limit}"),
    "target-down": ("{label}", "has taken nothing for {value}"),
    "sagas-stuck": ("The saga {label}", "needs a person for {number} pages"),
    "checks": ("The check {label}", "fails"),
}
"""What a person would say aloud about a crossed limit, by key figure: the subject, and the rest."""

_OF_ONE: Mapping[str, tuple[str, str]] = {
    "queue": ("The queue {label}", "has 1 entry, limit {limit}"),
    "throttled": ("{label}", "answers 429 once a minute, limit {limit}"),
    "refused": ("1 request a minute", "is refused, limit {limit}"),
    "expiring": ("1 open dead letter", "loses its content within a week"),
    "looks-reset": ("{label}", "looks reset: 1 event was older than the stored one"),
    "held-runs": ("{label}", "has 1 run held: it would remove more than it may"),
    "failed-rebuilds": ("{label}", "has 1 rebuild that failed, the newest one"),
    "delivery-queue": ("For {label}", "1 page waits to be delivered, limit {limit}"),
    "delivery-throttled": ("{label}", "answers 429 once a minute, limit {limit}"),
    "sagas-stuck": ("The saga {label}", "needs a person for 1 page"),
    "unmapped": ("{label}", "sends 1 new attribute, which no contract maps"),
    "schema-drift": ("{label}", "has changed 1 field of its records"),
}
"""The same of those that count something, if it is one."""


def sentence_of(reading: KpiReading) -> tuple[str, str]:
    """The subject of a sentence about a crossed limit, and its rest."""
    given = {
        "label": reading.label,
        "value": shown(reading.value, reading.unit),
        "number": shown(reading.value, "count"),
        "limit": shown(reading.threshold, reading.unit),
    }
    sentences = _OF_ONE if reading.value == 1 and reading.kpi in _OF_ONE else _SENTENCES
    subject, rest = sentences.get(reading.kpi, (reading.title, "is {value}, limit {limit}"))
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
        state="warn",
        subject=f"{letters} {noun}",
        sentence=f"of {cause.source}: {cause.text}",
        consequence=cause.error,
        command=words,
        button="Open cause",
        address=address,
        runbook=runbook_of(cause.kind, is_request=cause.domain is None),
    )


def _other_causes(causes: Sequence[CauseSummary]) -> Task:
    letters = sum(each.letters for each in causes)
    sentence = f"of {plural(len(causes), 'other cause')}"
    words = command("dead-letters", "causes")
    subject = plural(letters, "other dead letter")
    return Task("warn", subject, sentence, "", words, "Open list", href("dead-letters"), "dead-letters")
