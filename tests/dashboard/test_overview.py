"""The overview: its verdict in words, tiles, tasks and rates, from data."""

import re
from collections.abc import Sequence

import msgspec
import pytest

from pagefold import Shop
from pagefold.engine.dashboard.charts import sparkline
from pagefold.engine.dashboard.overview_tasks import sentence_of, tasks_of
from pagefold.engine.dashboard.overview_tiles import TILES, thinned, tile_of, watched
from pagefold.engine.dashboard.overview_verdict import verdict_on_shop
from pagefold.engine.dashboard.rates import Rate, Rates
from pagefold.engine.kpis.definitions import BY_NAME, KPIS
from pagefold.engine.kpis.readings import KpiReading
from pagefold.engine.reading.status import DomainStatus
from tests.support.dashboard_pages import browser_of
from tests.support.kpi_readings import reading
from tests.support.small_shop import catalog, price, say, stock


def domain(name: str, *, behind: int = 0, seconds: float = 0.0, applied: int = 100) -> DomainStatus:
    """A domain that is so far behind a log of 1,000 events."""
    return DomainStatus(
        domain=name,
        log_end=1_000,
        checkpoint=1_000 - behind,
        lag_events=behind,
        lag_seconds=seconds,
        applied=applied,
        stale=0,
        dead=0,
        dead_letters=0,
        conflicts=0,
        configuration_changed=False,
        holder="w1",
    )


FINE = [reading("lag", 0.0, "inventory"), reading("drift", 0.0)]
HELD = [reading("held-runs", 1, "pim"), reading("not-applied", 1)]
LATE = reading("lag", 372, "inventory")
QUEUE = reading("queue", 4_812, "append")
CAUGHT_UP, BEHIND = [domain("inventory")], [domain("inventory", behind=7, seconds=372), domain("pricing")]
UP_TO_DATE = "Every event up to position 1,000 is folded."
FAILED = reading("checks", 1, "appends")

VERDICTS: dict[str, tuple[Sequence[KpiReading], Sequence[DomainStatus], int, str, str, str]] = {
    "fine": (FINE, CAUGHT_UP, 0, "ok", "No limit is crossed. Pages are right and are up to date.", UP_TO_DATE),
    "the mock-up": (
        [*FINE, LATE, QUEUE, *HELD],
        BEHIND,
        5,
        "bad",
        "Two limits are crossed, two changes are held. Pages are right; stock is 6 min 12 s late.",
        "The log ends at position 1,000; inventory is behind. 5 things need a person.",
    ),
    "held": (
        [*FINE, HELD[0]],
        CAUGHT_UP,
        1,
        "held",
        "One change is held. Pages are right and are up to date.",
        "1 thing",
    ),
    "a warning": (
        [*FINE, QUEUE],
        CAUGHT_UP,
        1,
        "warn",
        "One limit is crossed. Pages are right",
        "1 thing needs a person.",
    ),
    "late, within the limit": (
        FINE,
        BEHIND,
        0,
        "move",
        "No limit is crossed. Pages are right; stock is",
        "inventory is",
    ),
    "never compared": (
        [reading("drift", None)],
        CAUGHT_UP,
        0,
        "ok",
        "No limit is crossed. Pages follow the log and are up to date.",
        "1 value is not known yet. Nothing needs a person.",
    ),
    "wrong pages": (
        [reading("drift", 0.004)],
        BEHIND,
        1,
        "bad",
        "One limit is crossed. 0.4 % of the compared pages are wrong; stock is 6 min 12 s late.",
        "",
    ),
    "a failed check": ([*FINE, FAILED], CAUGHT_UP, 1, "bad", "The store fails its check of appends.", ""),
    "an empty log": (FINE, [], 0, "ok", "No limit is crossed.", "The log is empty: no source has sent anything yet."),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_the_verdict_is_made_from_the_data(name: str) -> None:
    """One sentence says how many limits are crossed, and whether pages are right and how late."""
    readings, domains, tasks, state, title, text = VERDICTS[name]
    verdict = verdict_on_shop(readings, domains, tasks)
    assert verdict.state == state
    assert title in verdict.title
    assert text in verdict.text


def test_every_crossed_limit_is_a_task() -> None:
    """Each has a sentence of its own, without a gap, its command, and the address of its cause; critical ones first."""
    readings = [reading(kpi.name, kpi.threshold + 1, "erp") for kpi in KPIS]
    tasks = tasks_of(readings, [])
    assert len(tasks) == len(KPIS) - 1  # dead letters are tasks by their causes
    for task in tasks:
        assert not re.search(r"[{}]|None", f"{task.subject} {task.sentence}")
        assert task.command[0] == "pagefold"
        assert task.address.startswith("/ui")
    states = [task.state for task in tasks]
    assert states == sorted(states, key=["bad", "held", "warn"].index)
    assert tasks_of([reading("lag", 1, "erp")], []) == []


SAID = {
    "queue": ("The queue erp has 1 entry, limit 1,000", "The queue erp has 2 entries, limit 1,000"),
    "throttled": ("erp answers 429 once a minute, limit 60/min", "erp answers 429 2 times a minute, limit 60/min"),
    "refused": ("1 request a minute is refused, limit 60/min", "2 requests a minute are refused, limit 60/min"),
    "expiring": (
        "1 open dead letter loses its content within a week",
        "2 open dead letters lose their content within a week",
    ),
    "looks-reset": (
        "erp looks reset: 1 event was older than the stored one",
        "erp looks reset: 2 events in a row were older than the stored ones",
    ),
    "held-runs": (
        "erp has 1 run held: it would remove more than it may",
        "erp has 2 runs held: they would remove more than they may",
    ),
    "failed-rebuilds": (
        "erp has 1 rebuild that failed, the newest one",
        "erp has 2 rebuilds that failed, the newest among them",
    ),
    "delivery-queue": (
        "For erp 1 page waits to be delivered, limit 1,000",
        "For erp 2 pages wait to be delivered, limit 1,000",
    ),
    "delivery-throttled": (
        "erp answers 429 once a minute, limit 60/min",
        "erp answers 429 2 times a minute, limit 60/min",
    ),
    "sagas-stuck": ("The saga erp needs a person for 1 page", "The saga erp needs a person for 2 pages"),
    "unmapped": (
        "erp sends 1 new attribute, which no contract maps",
        "erp sends 2 new attributes, which no contract maps",
    ),
    "schema-drift": ("erp has changed 1 field of its records", "erp has changed 2 fields of its records"),
}


def test_a_person_would_say_it_like_that() -> None:
    """Of one and of several; what is not counted has one sentence."""
    for name, said in SAID.items():
        for value, sentence in zip((1, 2), said, strict=True):
            assert " ".join(sentence_of(reading(name, value, "erp"))) == sentence
    counted = {each.name for each in KPIS if each.unit in ("count", "per minute")}
    assert SAID.keys() == counted - {"dead-letters", "not-applied", "checks"}


def test_tiles_say_value_limit_and_state() -> None:
    """A duration of minutes is written like a clock; what is not known is a dash."""
    late = tile_of(LATE, {}, 0)
    assert (late.value, late.unit, late.limit, late.state) == ("6:12", "min", "inventory · limit 5 min", "bad")
    failures = tile_of(reading("failures", 0.0021), {}, 0)
    assert (failures.value, failures.unit, failures.limit, failures.state) == (
        "0.21",
        "%",
        "limit 1 % of at least 20",
        "ok",
    )
    drift = tile_of(reading("drift", None), {}, 0)
    assert (drift.value, drift.limit, drift.state) == ("–", "not measured yet", "wait")
    assert tile_of(reading("throttled", 4, "erp"), {}, 0).unit == "/min"
    assert set(TILES) <= set(BY_NAME)


def test_what_has_no_tile_is_watched() -> None:
    """Every other key figure is in one line, what needs somebody first."""
    readings = [reading("dead-letters", 31, "request"), *HELD, reading("looks-reset", 60, "erp pricing")]
    assert [each.text for each in watched(readings)] == [
        "erp pricing looks reset",
        "1 held run",
        "configuration not applied",
        "31 dead letters",
        "no source is overdue",
    ]


def test_of_several_the_worst_is_named() -> None:
    """A target that is down, not the first one."""
    readings = [reading("target-down", 0, "marketplace"), reading("target-down", 400, "search")]
    assert watched(readings)[0].text == "Target down of search: 6 min 40 s, limit 5 min"


def test_a_line_has_the_highest_value_of_each_ten_minutes() -> None:
    """The newest is last; before the first that is known there is nothing; the limit is inside the chart."""
    values = thinned({100_000: 5.0, 99_995: 9.0, 99_000: 1.0}, 100_000)
    assert len(values) == 144
    assert values[-1] == 9.0
    line = sparkline(values, 20.0)
    assert line is not None
    assert line.limit is not None
    assert 4.3 < line.limit < 33
    assert line.line.startswith("0.0,33.0 ")
    assert sparkline([], 1.0) is None
    assert sparkline([None, 1.0]) is None
    assert sparkline([0.0, 0.0]) is not None


def test_rates_are_those_of_the_last_seconds() -> None:
    """What came in and what was folded, a second; nothing is known from one count."""
    now = [0.0]
    rates = Rates(lambda: now[0])
    assert rates.add([domain("pricing", applied=100)]) == {"pricing": Rate(None, None)}
    now[0] = 10.0
    assert rates.add([domain("pricing", applied=200, behind=50)]) == {"pricing": Rate(15.0, 10.0)}
    now[0] = 100.0
    assert rates.add([domain("pricing", applied=200)]) == {"pricing": Rate(None, None)}


async def test_the_page_shows_every_part(shop: Shop) -> None:
    """Its live parts, every domain and channel, and tiles that lead to causes."""
    await say(shop, catalog("A"), price("9.90"), stock(3))
    async with browser_of(shop) as browser:
        page = (await browser.get("/ui")).text
        assert set(re.findall(r'hx-get="/ui\?part=(\w+)"', page)) == {
            *("verdict", "tiles", "watched", "tasks", "domains", "channels")
        }
        assert page.count('class="tile') == len(TILES) + 1
        for name in ("catalog", "pricing", "inventory", "media", *shop.config.channels):
            assert name in page
        assert "No limit is crossed." in page


async def test_causes_of_dead_letters_need_a_person(shop: Shop) -> None:
    """Each leads to its own list, with the number of its letters."""
    await say(shop, price("9.90"))
    await shop.append([price("8.80"), msgspec.structs.replace(price("7.70"), id="x")])
    async with browser_of(shop) as browser:
        page = (await browser.get("/ui?part=tasks")).text
        cause = (await shop.dead_letters.causes())[0]
        assert f'href="/ui/dead-letters?cause={cause.key}"' in page
        assert 'pagefold</span> <span class="nowrap">dead-letters' in page
