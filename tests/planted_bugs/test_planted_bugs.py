"""The catalogue of planted bugs fits the source. `scripts/planted-bugs` checks that the tests find them."""

import pytest

from tests.planted_bugs.catalogue import ROOT, PlantedBug, planted_bugs

BUGS = planted_bugs()
FEWEST = 40


def test_there_are_enough() -> None:
    """At least forty, each with a unique name."""
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= FEWEST


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_a_bug_fits_the_source(bug: PlantedBug) -> None:
    """Its text occurs once in each file, it changes something, and its tests exist."""
    assert bug.planted(ROOT)
    assert bug.old != bug.new
    for test in bug.found_by:
        file, _, name = test.partition("::")
        assert name.partition("[")[0] in (ROOT / file).read_text("utf-8"), test
