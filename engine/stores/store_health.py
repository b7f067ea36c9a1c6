"""The contract of a store, continued: whether it can be used now."""

from abc import ABC, abstractmethod

import msgspec


class DamagedPart(msgspec.Struct, frozen=True):
    """A part of the store that is damaged, as `StoreDamaged` names it, and how that was found."""

    what: str
    problem: str


class Inspection(msgspec.Struct, frozen=True):
    """What was found in all files or tables, and in their indexes: each damage, and what could not be looked at."""

    damage: list[DamagedPart]
    unchecked: list[str]


class StoreHealth(ABC):
    """What a store can say of itself. Each returns when all is well, and raises `StoreError` for what is wrong."""

    @abstractmethod
    async def check_reads(self) -> None:
        """Pages can be read: the schema is the one that this program has, and everything that reads need answers.

        All connections that they may need are made, so that one too few is found here.
        """

    @abstractmethod
    async def check_appends(self) -> None:
        """The log can be appended to, as far as can be told without writing to it, over connections made likewise.

        Raises `StoreReadOnly` where nothing can be written, and `StoreUnavailable` on a full disk.
        """

    @abstractmethod
    async def check_damage(self) -> None:
        """The pages are not damaged, as far as the store can see. Reads as much as there is.

        A no-op where the server looks for that itself. Raises `StoreDamaged`.
        """

    @abstractmethod
    async def inspect(self) -> Inspection:
        """Looks whether every index has just the rows of its table, in the log, the pages and all else.

        Reads as much as there is. Nobody waits for it.
        """
