"""A rebuild's run as an aggregate: recorded topics and counts keep their names."""

import random

from pagefold.engine.rebuild.run_aggregate import RebuildRun
from pagefold.engine.rebuild.run_records import RunCounts


def test_topics_stay_what_they_are() -> None:
    """Recorded topics are pinned: events recorded by earlier versions must stay readable."""
    topics = {each.TOPIC for each in vars(RebuildRun).values() if hasattr(each, "TOPIC")}
    assert {topic.removeprefix("engine.rebuild.run:Rebuild.") for topic in topics} == {
        "Started",
        "PageDone",
        "StartedOver",
        "Compared",
        "Held",
        "Approved",
        "Refused",
        "Resumed",
        "Withdrawn",
        "Completed",
        "Failed",
        "Snapshot",
    }


def test_counts_add_up() -> None:
    """Counts are added by name and restored from names; unknown names are ignored."""
    dice = random.Random(7)
    one, another = (RunCounts(*(dice.randrange(9) for _ in range(12))) for _ in range(2))
    both = one + another
    assert both.rows == one.rows + another.rows
    assert both.spared == one.spared + another.spared
    assert RunCounts.of(both.as_dict() | {"invented": 3}) == both
    assert RunCounts().as_dict() == {}
