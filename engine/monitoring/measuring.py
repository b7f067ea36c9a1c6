"""What measurements of key figures have in common."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias

from pagefold.engine.delivery.target_service import TargetStatus
from pagefold.engine.kpis.definitions import Kpi
from pagefold.engine.monitoring.monitored_shop import Monitored
from pagefold.engine.reading.snapshot_runs import SnapshotRuns


class Measured(NamedTuple):
    """A value of a key figure, as in `KpiReading`. What is `intended` by a person crosses nothing, whatever it is."""

    value: float | None
    cause: str
    command: str
    label: str = ""
    numerator: float | None = None
    denominator: float | None = None
    intended: bool = False


class Measuring(NamedTuple):
    """What a measurement needs. `at` is the time for which it is made."""

    shop: Monitored
    runs: SnapshotRuns
    targets: Sequence[TargetStatus]
    kpi: Kpi
    at: datetime

    @property
    def since(self) -> datetime:
        """The beginning of the window."""
        return self.at - timedelta(seconds=self.kpi.window)


Measure: TypeAlias = Callable[[Measuring], Awaitable[Sequence[Measured]]]


def ratio(numerator: float, denominator: float, cause: str, command: str, label: str = "") -> Measured:
    """A share; it is not known of nothing."""
    value = numerator / denominator if denominator else None
    return Measured(value, cause, command, label, numerator, denominator)
