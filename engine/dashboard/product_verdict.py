"""The sentence about a product's page: whether it is shown, whether it is ready, and what it lacks."""

from collections.abc import Sequence
from typing import NamedTuple

from pagefold.engine.dashboard.formats import plural
from pagefold.engine.dashboard.product_values import SectionView, ValueRow, missing_rows
from pagefold.engine.dashboard.screen import State
from pagefold.engine.explanations.explanation import PageExplanation


class Verdict(NamedTuple):
    """A sentence that a person could say aloud, what follows from it, and the section of the runbooks about it."""

    state: State
    title: str
    text: str
    runbook: str = ""


def verdict_of(why: PageExplanation, sections: Sequence[SectionView], *, is_stored: bool) -> Verdict:
    """The verdict on a page, which may or may not be stored."""
    if why.status == "absent":
        letters = sum(len(each.dead_letters) for each in sections)
        text = _why_absent(letters)
        return Verdict("wait", f"{why.channel} has no page of this product", text, "dead-letters" if letters else "")
    if wrong := [each.domain for each in sections if each.stored == "wrong"]:
        text = "Run pagefold verify to see the difference; pagefold recover folds every page again."
        noun = "section is" if len(wrong) == 1 else "sections are"
        return Verdict("bad", f"The stored {listed(wrong)} {noun} not what the log gives", text, "drift")
    if why.status == "disabled":
        return Verdict("wait", "The page is disabled", _why_disabled(why))
    if not why.ready:
        return _not_ready(why, sections)
    return _ready(why, sections, is_stored=is_stored)


def _ready(why: PageExplanation, sections: Sequence[SectionView], *, is_stored: bool) -> Verdict:
    if not is_stored:
        return Verdict("move", "The page is not stored yet", "Its events are in the log and wait to be folded.", "lag")
    if behind := [each.domain for each in sections if each.stored == "not-folded"]:
        text = f"What is stored is right up to its checkpoint; newer events of {listed(behind)} are not folded yet."
        noun = "section is" if len(behind) == 1 else "sections are"
        return Verdict("move", f"The page is ready, and its {listed(behind)} {noun} late", text, "lag")
    return Verdict("ok", f"The page is live in {why.channel}, and ready", _sources(sections))


def _not_ready(why: PageExplanation, sections: Sequence[SectionView]) -> Verdict:
    missing = [row for row in missing_rows(sections) if row.state == "bad"]
    waits = [each.domain for each in sections if each.is_required and not each.is_ready]
    shown = "The page is shown all the same." if why.status == "live" else ""
    if missing:
        title = f"Not ready because {_lacks(missing)}"
        return Verdict("warn", title, f"{why.channel} requires {listed(waits)}. {shown}".strip())
    empty = [each.domain for each in sections if each.domain in waits and each.is_empty]
    if empty:
        return Verdict("warn", f"Not ready because nothing has arrived of {listed(empty)}", shown)
    return Verdict("warn", f"Not ready: {listed(waits)}", shown)


def _lacks(rows: Sequence[ValueRow]) -> str:
    first = rows[0]
    problem = "is missing" if first.is_absent else "is not valid"
    more = f", and {plural(len(rows) - 1, 'other value')} too" if len(rows) > 1 else ""
    return f"{first.path} {problem}{more}"


def _why_absent(letters: int) -> str:
    if letters:
        return f"{plural(letters, 'dead letter of it waits', 'dead letters of it wait')} for a decision."
    return "No source that counts here has sent anything about it."


def _why_disabled(why: PageExplanation) -> str:
    return " ".join(each.text for each in why.reasons if each.code != "not-ready") or "A source has disabled it."


def _sources(sections: Sequence[SectionView]) -> str:
    sources = sorted({source for each in sections for source in each.sources})
    return f"Its values are from {listed(sources)}." if sources else ""


def listed(words: Sequence[str]) -> str:
    """Words with commas, and `and` before the last."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "nothing"
