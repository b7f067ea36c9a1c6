"""What must hold of the epochs in a log when somebody appends who has given events their epochs by what he knows."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

EPOCHS = "pagefold-epochs"
"""The stream of the events that raise epochs. Their versions are 0, 1, 2 …: how many there are is the generation."""


class Fence(NamedTuple):
    """What somebody knows of the epochs of a log.

    `generation` is how many events the stream `EPOCHS` has. `ceilings` are versions by stream: the stream has none that
    is as high.
    """

    generation: int
    ceilings: Mapping[str, int] = MappingProxyType({})


class EpochsMoved(Exception):
    """The log's epochs are others than a fence says: nothing was appended. Whoever knows them now may try again."""
