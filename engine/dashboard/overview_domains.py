"""The domains of the overview: how far each is folded, how fast, by whom, and its lag of the last 24 hours."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pagefold.engine.dashboard.charts import Sparkline, sparkline
from pagefold.engine.dashboard.formats import duration
from pagefold.engine.dashboard.overview_tiles import thinned
from pagefold.engine.dashboard.rates import Rate
from pagefold.engine.dashboard.screen import State
from pagefold.engine.reading.lag_cache import MAX_COUNTED_EVENTS
from pagefold.engine.reading.status import DomainStatus


class DomainRow(NamedTuple):
    """One domain. `until` says how long it takes at this rate, if it is behind and catches up."""

    domain: str
    state: State
    words: str
    until: str
    behind: int
    lag_seconds: float
    line: Sparkline | None
    rate: Rate
    checkpoint: int
    dead_letters: int
    conflicts: int
    holder: str | None

    @property
    def runbook(self) -> str:
        """The section of the runbooks about its state; empty if nothing is wrong."""
        return {"bad": "lag", "held": "not-applied"}.get(self.state, "")

    @property
    def is_bounded(self) -> bool:
        """Whether more is behind than was counted."""
        return self.behind >= MAX_COUNTED_EVENTS


def domain_row(domain: DomainStatus, rate: Rate, history: Mapping[int, float], minute: int, limit: float) -> DomainRow:
    """The row of a domain. `history` has its lag by minute, `limit` is what the lag may be."""
    state, words = _state_of(domain, rate, limit)
    return DomainRow(
        domain=domain.domain,
        state=state,
        words=words,
        until=_until(domain, rate),
        behind=domain.lag_events,
        lag_seconds=domain.lag_seconds,
        line=sparkline(thinned(history, minute), limit),
        rate=rate,
        checkpoint=domain.checkpoint,
        dead_letters=domain.dead_letters,
        conflicts=domain.conflicts,
        holder=domain.holder,
    )


def _state_of(domain: DomainStatus, rate: Rate, limit: float) -> tuple[State, str]:
    if domain.configuration_changed:
        return "held", "Folded under another configuration"
    if not domain.lag_events:
        return "ok", "Caught up"
    if domain.lag_seconds < min(limit, 10.0):
        return "ok", "Caught up, newest events on their way"
    if rate.folded == 0:
        return "bad", "Stands still: no worker folds it" if domain.holder is None else "Stands still"
    return ("bad" if domain.lag_seconds > limit else "move"), "Catching up"


def _until(domain: DomainStatus, rate: Rate) -> str:
    """How long it takes until it has caught up, at the rate of the last seconds; nothing if that is unknown."""
    if not domain.lag_events or rate.folded is None or rate.arriving is None or rate.folded <= rate.arriving:
        return ""
    return f"caught up in about {duration(domain.lag_events / (rate.folded - rate.arriving))}"


def domain_rows(
    domains: Sequence[DomainStatus],
    rates: Mapping[str, Rate],
    histories: Mapping[str, Mapping[int, float]],
    minute: int,
    limits: Mapping[str, float],
) -> list[DomainRow]:
    """The rows of all domains: `histories` and `limits` are those of their lag, by domain."""
    return [
        domain_row(each, rates[each.domain], histories.get(each.domain, {}), minute, limits.get(each.domain, 0.0))
        for each in domains
    ]
