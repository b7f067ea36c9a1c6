"""A fence for appends: the epochs that a writer relied on must still be those of the log."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

EPOCHS = "pagefold-epochs"
"""The stream of the events that raise epochs. Their versions are 0, 1, 2 …; their number is the generation."""


class Fence(NamedTuple):
    """The epochs of a log as a writer knows them.

    `generation` is the number of events in the stream `EPOCHS`. `ceilings` are versions by stream: the stream must have
    none that is as high.
    """

    generation: int
    ceilings: Mapping[str, int] = MappingProxyType({})


class EpochsMoved(Exception):
    """The log's epochs differ from the fence, and nothing was appended. Read them and try again."""
