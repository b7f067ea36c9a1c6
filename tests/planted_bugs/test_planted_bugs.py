"""The catalogue of planted bugs fits the source. Whether tests find them, `scripts/planted-bugs` tells."""

import pytest

from tests.planted_bugs.catalogue import ROOT, PlantedBug, planted_bugs

BUGS = planted_bugs()
FEWEST = 40


def test_there_are_enough() -> None:
    """Forty at least, each under a name of its own."""
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= FEWEST


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_a_bug_fits_the_source(bug: PlantedBug) -> None:
    """Its text stands in its files once, it changes something, and the tests that find it exist."""
    assert bug.planted(ROOT)
    assert bug.old != bug.new
    for test in bug.found_by:
        file, _, name = test.partition("::")
        assert name.partition("[")[0] in (ROOT / file).read_text("utf-8"), test
