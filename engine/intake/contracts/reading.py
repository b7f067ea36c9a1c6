"""What a contract made of some records: statements, refusals, and counts of what does not count."""

from dataclasses import dataclass, field
from typing import NamedTuple

from pagefold.engine.events import DomainEvent
from pagefold.engine.intake.statement import Statement, Whole
from pagefold.projections.transforms import InvalidValue

WITHOUT_VALUE = frozenset({"blank", "unsent"})
"""Refusals of something that is not there."""


class Refusal(NamedTuple):
    """A statement that could not be made of a record: of which SKU, if it is known, and why.

    `event` is the event without its payload, if its stream and its version are known.
    """

    domain: str
    sku: str | None
    error: InvalidValue
    event: DomainEvent | None = None


@dataclass(slots=True)
class Reading:
    """What was made of some records: statements and refusals in their order, and counts of what does not count.

    `wholes` are the groups that they have all of. `channels` are unknown ones. `absent` is what no record had so far,
    of the paths that each table reads; None if nobody asks.
    """

    statements: list[Statement] = field(default_factory=list)
    wholes: list[Whole] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    records: int = 0
    left_out: int = 0
    channels: dict[str, int] = field(default_factory=dict)
    absent: list[set[str]] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it has statements, and nothing else."""
        return not (self.refusals or self.left_out or self.channels or self.wholes)

    @property
    def events(self) -> list[DomainEvent]:
        """The events of the statements."""
        return [statement.event for statement in self.statements]


def refusal_text(error: InvalidValue, sku: str | None, place: str | None) -> str:
    """Why something was refused: the value and its path, the rule, the SKU, and the line of the contract."""
    path = f"`{error.path}`" if error.path else ""
    value = "" if error.code in WITHOUT_VALUE else error.excerpt
    subject = ": ".join(filter(None, (path, value)))
    rule = f" ({error.transform})" if error.transform else ""
    known = ", ".join(filter(None, (sku and f"SKU {sku}", place)))
    return f"{subject} {error.reason}{rule}{f'; {known}' if known else ''}".lstrip()
