"""The screen of runbooks, and the links that lead to it from everything that may be wrong."""

import re

import pytest

from pagefold import Shop
from pagefold.engine.dashboard.letter_values import runbook_of
from pagefold.engine.dashboard.overview_tasks import tasks_of
from pagefold.engine.dashboard.overview_tiles import tile_of, watched
from pagefold.engine.dashboard.rendering import TEMPLATES
from pagefold.engine.dashboard.run_summary import RUNBOOKS
from pagefold.engine.dashboard.runbook_sections import parse_runbooks, runbooks
from pagefold.engine.kpis.definitions import KPIS, Kpi
from tests.runbooks.scene import sections
from tests.support.dashboard_pages import browser_of
from tests.support.kpi_readings import reading
from tests.support.small_shop import append, price

PAGE = """# Title

Before. <b onclick="x()">raw</b> [other](sources.md#here) [bad](javascript:alert(1))

## First thing

[second](#second-thing), `<i>`

```console
$ pagefold status
<u>…
```

## Second thing

| a | b |
|---|---|
| 1 | 2 |
"""


def test_sections_are_those_of_the_documentation() -> None:
    """Each by the anchor that it has there, and with all of its words."""
    found = runbooks().sections
    assert [each.anchor for each in found] == list(sections())
    words = {each.anchor: re.sub(r"<[^>]+>", "", each.text) for each in found}
    assert "lag_seconds" not in words["lag"]
    assert "lease_seconds" in words["lag"]
    assert {kpi.runbook for kpi in KPIS} <= words.keys()


def test_a_page_is_rendered_without_its_markup() -> None:
    """HTML is text, other pages are only named, commands stand out, and nothing has a style."""
    page = parse_runbooks(PAGE)
    first, second = page.sections
    assert (first.anchor, first.title) == ("first-thing", "First thing")
    assert "Title" not in page.introduction
    assert "&lt;b onclick=" in page.introduction
    assert "<span>other (docs/sources.md)</span>" in page.introduction
    assert "href" not in page.introduction
    assert '<a href="#second-thing">second</a>' in first.text
    assert '<pre><span class="prompt">$ </span><b>pagefold status</b>\n&lt;u&gt;…</pre>' in first.text
    assert second.text.startswith('<div class="scroll"><table>')
    assert "style=" not in "".join(each.text for each in runbooks().sections)


async def test_the_screen_has_every_section(shop: Shop) -> None:
    """In a list, and below an anchor. An address that survives signing in leads to it."""
    async with browser_of(shop) as browser:
        page = (await browser.get("/ui/runbooks")).text
        for anchor in sections():
            assert page.count(f'id="{anchor}"') == 1
            assert f'<a href="#{anchor}">' in page
        answer = await browser.get("/ui/runbooks/held-runs")
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/runbooks#held-runs")
        assert (await browser.get("/ui/runbooks/nothing")).status_code == 404
        assert 'href="/ui/runbooks"' in (await browser.get("/ui")).text
    async with browser_of(shop, None) as browser:
        answer = await browser.get("/ui/runbooks/lag")
        assert answer.headers["location"] == "/ui/sign-in?next=%2Fui%2Frunbooks%2Flag"


async def test_what_is_wrong_now_is_beside_its_section(shop: Shop) -> None:
    """With the way to its cause, from there and back."""
    await append(shop, price("1.00"))
    for amount in range(2, 27):
        await shop.append([price(f"{amount}.00")])
    crossed = {each.runbook for each in await shop.kpis.readings() if each.crossed}
    assert "conflicts" in crossed
    async with browser_of(shop) as browser:
        page = (await browser.get("/ui/runbooks")).text
        assert "Conflicts: 100 %, limit 5 %" in page
        assert page.count("Open cause</a>") == len(crossed)
        overview = (await browser.get("/ui")).text
        for section in crossed:
            assert f'href="/ui/runbooks#{section}"' in overview
        assert 'href="/ui/runbooks#conflicts"' in (await browser.get("/ui/dead-letters?kind=ingest")).text


@pytest.mark.parametrize("kpi", KPIS, ids=lambda kpi: str(kpi.name))
def test_everything_that_is_crossed_leads_to_its_section(kpi: Kpi) -> None:
    """As a task, as a tile, and in the line of what else is watched."""
    high = reading(kpi.name, kpi.threshold + 1, "erp")
    found = {tile_of(high, {}, 0).runbook, *(each.runbook for each in watched([high]))}
    found |= {each.runbook for each in tasks_of([high], [])}
    assert found - {""} == {kpi.runbook}
    low = reading(kpi.name, 0.0, "erp")
    assert {tile_of(low, {}, 0).runbook, *(each.runbook for each in watched([low]))} == {""}


def test_templates_name_sections_that_exist() -> None:
    """So do the words about runs and dead letters."""
    named = set(RUNBOOKS.values())
    for path in TEMPLATES.glob("*.html"):
        for arguments in re.findall(r"ui\.runbook\(([^)]*)\)", path.read_text("utf-8")):
            named |= set(re.findall(r'"([a-z-]+)"', arguments))
    for kind in ("ingest", "projection", "waiting"):
        named |= {runbook_of(kind, is_request=each) for each in (True, False)}
    assert len(named) > 7
    assert named <= sections().keys()
