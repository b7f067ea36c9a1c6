"""Which differences a run repairs, if it repairs only what is risky: those of one channel, or of one attribute."""

from typing import NamedTuple, Self

from pagefold.engine.rebuild.row_comparer import Comparison, PendingRepair, drift_details
from pagefold.projections.streams import parse_stream_id


class RepairPriority(NamedTuple):
    """What is repaired: statements for a channel, or those that differ in an attribute, such as `pricing.amount`."""

    channel: str = ""
    attribute: str = ""

    @property
    def text(self) -> str:
        """The same as a run records it, and as people read it; "" for everything."""
        named = [f"{name} {value}" for name, value in zip(self._fields, self, strict=True) if value]
        return ", ".join(named)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `text`."""
        name, _, value = text.partition(" ")
        return cls(**{name: value}) if text else cls()

    def defer(self, comparison: Comparison) -> None:
        """Leaves the repairs that do not count to a run that repairs everything."""
        if not any(self):
            return
        found = [each for each in comparison.pending if self._counts(each)]
        comparison.counts.deferred = len(comparison.pending) - len(found)
        comparison.pending, comparison.suspects = found, None

    def _counts(self, pending: PendingRepair) -> bool:
        stream = parse_stream_id(pending.originator_id)
        if self.channel:
            return stream.channel == self.channel
        domain, _, path = self.attribute.partition(".")
        return stream.domain == domain and any(
            change.path == path or change.path.startswith(f"{path}.") for change in drift_details(pending).changes
        )


EVERYTHING = RepairPriority()
"""That of a run that repairs everything."""
