"""Runbooks: what to do when something is wrong, with what is wrong now beside it."""

from collections.abc import Sequence
from typing import NamedTuple

from starlette.responses import Response

from pagefold.engine.dashboard.addresses import runbook_address
from pagefold.engine.dashboard.overview_tiles import cause_address, state_of
from pagefold.engine.dashboard.runbook_sections import Section, runbooks
from pagefold.engine.dashboard.screen import Screen, State, shown_at
from pagefold.engine.dashboard.visit import Visit
from pagefold.engine.http.problems import Problem
from pagefold.engine.kpis.readings import KpiReading


class Trouble(NamedTuple):
    """A crossed limit that a section is about: a sentence, and the address of its cause."""

    text: str
    address: str


class ShownSection(NamedTuple):
    """A section, with what is wrong now; `state` is None if nothing is."""

    section: Section
    state: State | None
    troubles: Sequence[Trouble]


async def show(visit: Visit) -> Response:
    """All sections, and a list of them."""
    readings = await visit.shop.kpis.readings()
    page = runbooks()
    sections = [_shown(each, readings) for each in page.sections]
    return await visit.page("runbooks", introduction=page.introduction, sections=sections)


def _shown(section: Section, readings: Sequence[KpiReading]) -> ShownSection:
    crossed = [each for each in readings if each.crossed and each.runbook == section.anchor]
    troubles = [Trouble(f"{each.text}.", cause_address(each)) for each in crossed]
    return ShownSection(section, state_of(crossed) if crossed else None, troubles)


async def show_section(visit: Visit) -> Response:
    """Leads to a section. Unlike one with an anchor, its address survives signing in."""
    name = visit.path["section"]
    if name not in {each.anchor for each in runbooks().sections}:
        raise Problem(404, f"the runbooks have no section {name!r:.100}")
    return visit.redirect(runbook_address(name))


SCREEN = Screen(
    "runbooks",
    "Runbooks",
    "n-page",
    None,
    [shown_at("/ui/runbooks", show), shown_at("/ui/runbooks/{section}", show_section)],
)
