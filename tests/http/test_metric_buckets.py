"""The buckets of histograms: the same for every process, whichever of them is asked."""

import msgspec

from pagefold.engine.http.metrics import buckets_of
from pagefold.engine.runtime.counters import BatchStats


def test_all_processes_have_the_same_buckets() -> None:
    """Counters that a sibling sent as JSON have the bounds of this process, so that they add up."""
    own = BatchStats()
    own.add(1, 0.5)
    sibling = msgspec.json.decode(msgspec.json.encode(own), type=BatchStats)
    for mine, received in ((own.events, sibling.events), (own.seconds, sibling.seconds)):
        assert buckets_of(mine) == buckets_of(received)
    assert buckets_of(own.events)[0] == ("1.0", 1)
    assert buckets_of(own.events)[-1] == ("+Inf", 1)
