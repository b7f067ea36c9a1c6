"""What becomes of what a contract does not map: attributes, types, values of lookups, locales."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

Unmapped: TypeAlias = Literal["skip", "warn", "fail"]
"""Left out; left out, and reported; or the statement is refused."""


class UnmappedLevels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A level for each kind of what is not mapped.

    `attribute`: a field of the records that the contract does not read. `type`: a value of another kind than the field
    had so far. `lookup`: a value that a table does not have. `locale`: a name that is no locale, or none that is asked
    for. Without a level, the latter two are as their transforms have it.
    """

    attribute: Unmapped = "warn"
    type: Unmapped = "warn"
    lookup: Unmapped | None = None
    locale: Unmapped | None = None

    @property
    def of_values(self) -> Mapping[str, Unmapped]:
        """The levels that transforms ask for."""
        levels = {"lookup": self.lookup, "locale": self.locale}
        return {kind: level for kind, level in levels.items() if level is not None}


def levels_of(written: Unmapped | UnmappedLevels | None) -> UnmappedLevels:
    """The levels that a contract has: one word counts for all of them."""
    if written is None:
        return UnmappedLevels()
    return UnmappedLevels(written, written, written, written) if isinstance(written, str) else written
