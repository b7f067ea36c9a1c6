"""Each section of docs/runbooks.md ends the trouble that it is for."""

import re
import shutil
from pathlib import Path

import pytest

from pagefold.engine.dashboard.rendering import TEMPLATES
from pagefold.engine.dashboard.screen_table import SCREENS
from pagefold.engine.kpis.definitions import KPIS
from tests.runbooks.scene import PAGE, scene, sections
from tests.runbooks.troubles import TROUBLES

SECTIONS = sections()
CROSSED = {
    **{
        anchor: anchor
        for anchor in ("lag", "failures", "conflicts", "dead-letters", "expiring", "schema-drift", "unmapped")
    },
    **{anchor: anchor for anchor in ("target-down", "delivery-failures", "delivery-lag", "outbound-drift")},
    "sagas-stuck": "sagas-stuck",
    **{anchor: anchor for anchor in ("looks-reset", "held-runs", "failed-rebuilds", "not-applied")},
    "store-full": "checks",
    "recovery-needed": "checks",
}
"""The key figure that a trouble makes cross its limit. The others need a server, a minute, or a comparison of pages."""
SHARES = {"failures", "conflicts", "delivery-failures"}
"""Those of the last hour: they fall as the hour passes."""
PARTS = ("**You see**", "**Why", "**Do.**", "**Over when**")

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the page uses curl")


@pytest.mark.parametrize("anchor", TROUBLES)
def test_a_runbook_ends_its_trouble(anchor: str, tmp_path: Path) -> None:
    """The trouble is made, the page's commands print what the page shows, and the last ones show that it is over."""
    kpi = CROSSED.get(anchor)
    with scene(tmp_path) as shop:
        TROUBLES[anchor](shop)
        assert kpi is None or kpi in shop.crossed()
        shop.follow(SECTIONS[anchor])
        assert kpi is None or kpi in SHARES or kpi not in shop.crossed()


def test_every_section_is_played_through_and_complete() -> None:
    """Each says what you see, why, what to do and when it is over, with commands; and each has its trouble above."""
    assert SECTIONS.keys() == TROUBLES.keys() >= {kpi.runbook for kpi in KPIS}
    for anchor, section in SECTIONS.items():
        places = [section.find(part) for part in PARTS]
        assert places == sorted(places), anchor
        assert places[0] >= 0, anchor
        assert "```console" in section[places[-1] :], f"{anchor} has no command that shows that it is over"


def test_what_the_dashboard_is_said_to_have_is_there() -> None:
    """Each button that the page names is one of a screen, and each screen is in the side bar."""
    templates = "".join(path.read_text("utf-8") for path in TEMPLATES.glob("*.html"))
    for line in re.findall(r"^Dashboard: .*", PAGE.read_text("utf-8"), re.MULTILINE):
        for screen in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", line):
            assert screen in {each.title for each in SCREENS}, screen
        for button in re.findall(r"\*\*(.+?)\*\*", line):
            assert f'"{button}"' in templates or f">{button}<" in templates, button
