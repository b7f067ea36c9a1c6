"""The clock of the programs that `bench_peers` runs: each prints what its work took, without its start."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec


class Cost(msgspec.Struct, frozen=True):
    """The seconds that the work took, and the CPU seconds of all threads of the process."""

    seconds: float
    cpu: float


@contextmanager
def printed_cost() -> Iterator[None]:
    """Prints the cost of the block as JSON."""
    begun, used = time.perf_counter(), time.process_time()
    yield
    cost = Cost(time.perf_counter() - begun, time.process_time() - used)
    print(msgspec.json.encode(cost).decode())
