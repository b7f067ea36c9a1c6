"""The verdict on the shop: one sentence that a person could say aloud, and what follows from it."""

from collections.abc import Sequence

from pagefold.engine.dashboard.formats import duration, number, plural
from pagefold.engine.dashboard.overview_tiles import HELD, URGENCY, state_of
from pagefold.engine.dashboard.product_verdict import Verdict, listed
from pagefold.engine.dashboard.screen import State
from pagefold.engine.kpis.readings import KpiReading, shown
from pagefold.engine.reading.status import DomainStatus

LATE_SECONDS = 60.0
"""How late a domain has to be to be named."""

NOUNS = {"catalog": "product data", "pricing": "prices", "inventory": "stock", "media": "pictures"}
MANY = frozenset(["prices", "pictures"])
"""Nouns with a plural verb."""

WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def verdict_on_shop(readings: Sequence[KpiReading], domains: Sequence[DomainStatus], tasks: int) -> Verdict:
    """The verdict of readings and of how far each domain is folded. `tasks` is the number of what needs a person."""
    crossed = [each for each in readings if each.crossed and each.kpi not in HELD]
    held = int(sum(each.value or 0 for each in readings if each.crossed and each.kpi in HELD))
    title = f"{_limits(len({each.kpi for each in crossed}), held)} {_pages(readings, domains)}"
    return Verdict(_state(crossed, held, domains), title, _rest(readings, domains, tasks), _runbook(readings))


def _runbook(readings: Sequence[KpiReading]) -> str:
    """The section of the runbooks about the most urgent of what is crossed; empty if nothing is."""
    crossed = [each for each in readings if each.crossed]
    return min(crossed, key=lambda each: URGENCY.index(state_of([each]))).runbook if crossed else ""


def _state(crossed: Sequence[KpiReading], held: int, domains: Sequence[DomainStatus]) -> State:
    if any(each.severity == "critical" for each in crossed):
        return "bad"
    if held:
        return "held"
    if crossed:
        return "warn"
    return "move" if _late(domains) else "ok"


def _limits(crossed: int, held: int) -> str:
    """How many limits are crossed, and how many changes wait for a yes."""
    limits = f"{_counted(crossed, 'limit')} crossed"
    changes = f"{_counted(held, 'change')} held"
    said = changes if held and not crossed else f"{limits}, {changes}" if held else limits
    return f"{said[0].upper()}{said[1:]}."


def _counted(count: int, noun: str) -> str:
    """A small number as a word, its noun and its verb, such as `two limits are`."""
    word = WORDS[count] if count < len(WORDS) else f"{count:,}"
    return f"{word} {noun}s are" if count > 1 else f"{word} {noun} is"


def _pages(readings: Sequence[KpiReading], domains: Sequence[DomainStatus]) -> str:
    """Whether pages are right, and what of them is late."""
    failed = [each.label for each in readings if each.kpi == "checks" and each.crossed]
    drift = next((each for each in readings if each.kpi == "drift"), None)
    late = _late(domains)
    if failed:
        return f"The store fails its {'checks' if len(failed) > 1 else 'check'} of {listed(failed)}."
    if drift is not None and drift.value:
        return f"{shown(drift.value, drift.unit)} of the compared pages are wrong{_but_late(late)}."
    right = "Pages are right" if drift is not None and drift.value is not None else "Pages follow the log"
    return f"{right}{_but_late(late) or ' and are up to date'}."


def _but_late(late: Sequence[DomainStatus]) -> str:
    return f"; {listed([_lateness(each) for each in late])}" if late else ""


def _late(domains: Sequence[DomainStatus]) -> list[DomainStatus]:
    found = [each for each in domains if each.lag_seconds >= LATE_SECONDS]
    return sorted(found, key=lambda each: -each.lag_seconds)


def _lateness(domain: DomainStatus) -> str:
    noun = NOUNS.get(domain.domain, domain.domain)
    return f"{noun} {'are' if noun in MANY else 'is'} {duration(domain.lag_seconds)} late"


def _rest(readings: Sequence[KpiReading], domains: Sequence[DomainStatus], tasks: int) -> str:
    """What is behind the sentence: how far the log is folded, how well it is known, and how much there is to do."""
    behind = [each.domain for each in domains if each.lag_events]
    end = max((each.log_end for each in domains), default=0)
    if not end:
        folded = "The log is empty: no source has sent anything yet."
    elif behind:
        folded = (
            f"The log ends at position {number(end)}; {listed(behind)} {'are' if len(behind) > 1 else 'is'} behind."
        )
    else:
        folded = f"Every event up to position {number(end)} is folded."
    unknown = len({each.kpi for each in readings if each.value is None})
    known = f" {plural(unknown, 'value is', 'values are')} not known yet." if unknown else ""
    needed = f"{plural(tasks, 'thing needs', 'things need')} a person." if tasks else "Nothing needs a person."
    return f"{folded}{known} {needed}"
