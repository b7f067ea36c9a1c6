"""The contract of a store, continued: whether it is usable now."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import msgspec


class DamagedPart(msgspec.Struct, frozen=True):
    """A damaged part of the store, as `StoreDamaged` names it, and how that was found."""

    what: str
    problem: str


class Inspection(msgspec.Struct, frozen=True):
    """The result for all files or tables and their indexes: each damage, and what could not be checked."""

    damage: list[DamagedPart]
    unchecked: list[str]


class StoreHealth(ABC):
    """The checks of a store. Each returns if all is well, and raises `StoreError` if not."""

    @abstractmethod
    async def check_reads(self) -> None:
        """Checks that pages can be read: the schema is this program's, and all that reads need responds.

        Opens all connections that reads may need, so that a missing one is found here.
        """

    @abstractmethod
    async def check_appends(self) -> None:
        """Checks that the log can be appended to, as far as possible without writing.

        Opens all connections that appends may need. Raises `StoreReadOnly` if nothing can be written, and
        `StoreUnavailable` if the disk is full.
        """

    @abstractmethod
    async def check_damage(self) -> None:
        """Checks the pages, and the deliveries, for damage. Reads everything.

        A no-op if the server checks for itself. Raises `StoreDamaged`.
        """

    @abstractmethod
    async def sizes(self) -> Mapping[str, int]:
        """The bytes of its parts on disk, indexes included: `log`, `pages`, perhaps `deliveries` and `rest`."""

    @abstractmethod
    async def inspect(self) -> Inspection:
        """Checks whether every index matches its table, in the log, the pages and everything else.

        Reads everything, without blocking others.
        """
