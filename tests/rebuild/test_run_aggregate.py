"""A run of a rebuild, as an aggregate: what is recorded of it keeps its names."""

import random

from pagefold.engine.rebuild.run_aggregate import RebuildRun, RunCounts


def test_topics_stay_what_they_are() -> None:
    """The names under which runs are recorded are pinned: an event that was recorded once is read for ever."""
    assert {
        name for name, each in vars(RebuildRun).items() if getattr(each, "TOPIC", "").endswith(f":Rebuild.{name}")
    } == {
        "Started",
        "ChunkCompared",
        "StartedOver",
        "Compared",
        "Held",
        "Resumed",
        "Withdrawn",
        "Completed",
        "Failed",
        "Snapshot",
    }


def test_counts_add_up() -> None:
    """Counts are added by name, and come back from their names, those of a later version left out."""
    dice = random.Random(7)
    one, another = (RunCounts(*(dice.randrange(9) for _ in range(12))) for _ in range(2))
    both = one + another
    assert both.rows == one.rows + another.rows
    assert both.spared == one.spared + another.spared
    assert RunCounts.of(both.as_dict() | {"invented": 3}) == both
    assert RunCounts().as_dict() == {}
