"""The contract of a store for the history of key figures. Both stores keep it: see `pagefold.engine.stores.store`."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import NamedTuple

FAILED_REBUILDS = "rebuilds.failed"
"""Points with the number of rebuilds of a source that have failed in a row, when that changed."""

DELIVERIES_COMPARED, DELIVERIES_DIFFERING = "deliveries.compared", "deliveries.differing"
"""Points of comparisons of a target with its pages, at their ends: how many were compared, and how many differed."""


class KpiPoint(NamedTuple):
    """A number of one minute, which is counted since the epoch. `label` is empty if there is one value."""

    name: str
    label: str
    minute: int
    value: float


class KpiSpan(NamedTuple):
    """The points of one label in a time: how many, the lowest and the highest value, and their sum."""

    name: str
    label: str
    points: int
    lowest: float
    highest: float
    total: float


class KpiPoints(ABC):
    """Numbers by minute: values, of which the newest of a minute counts, and counts, which several processes add to."""

    @abstractmethod
    async def record(self, values: Sequence[KpiPoint], counts: Sequence[KpiPoint] = ()) -> None:
        """Stores values in place of those of the same minute, and adds counts to theirs, all together."""

    @abstractmethod
    async def points(self, name: str, label: str, since: int) -> Sequence[KpiPoint]:
        """The points of one label from a minute on, in order."""

    @abstractmethod
    async def newest(self, names: Collection[str], until: int) -> Sequence[KpiPoint]:
        """The newest point of each name and label up to a minute."""

    @abstractmethod
    async def spans(self, names: Collection[str], since: int) -> Sequence[KpiSpan]:
        """Each label of some names that has points from a minute on."""

    @abstractmethod
    async def forget(self, before: int, *, but: Collection[str] = (), long_before: int = 0) -> None:
        """Removes the points before a minute; of the names in `but`, those before `long_before`."""
