"""The contract of a store, continued: whether it can be used now."""

from abc import ABC, abstractmethod


class Condition(ABC):
    """What a store can say of itself. Each returns when all is well, and raises `StoreError` for what is wrong."""

    @abstractmethod
    async def check_reads(self) -> None:
        """Pages can be read: the schema is the one that this program has, and everything that reads need answers.

        All connections that they may need are made, so that one too few is found here.
        """

    @abstractmethod
    async def check_appends(self) -> None:
        """The log can be appended to, as far as can be told without writing, over connections made likewise.

        Raises `StoreReadOnly` where nothing can be written, and `StoreUnavailable` on a full disk.
        """

    @abstractmethod
    async def check_damage(self) -> None:
        """The pages are not damaged, as far as the store can see. Reads as much as there is.

        A no-op where the server looks for that itself. Raises `StoreDamaged`.
        """
