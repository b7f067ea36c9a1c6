"""Epochs, which order before a source's version. Pure.

A source's counter may be restarted, and a record may be created again under an old SKU. Versions then start over in the
next epoch: an event of a higher epoch is newer than all of lower ones, whatever its version. The log stores both in one
number that sorts correctly: the epoch in the bits from 2^53, the source's version below. Users are shown the source's
version.
"""

EPOCH_BITS = 53
MAX_EPOCH = 1_023
"""The highest epoch that fits into a 64-bit integer above a version."""

MAX_NAMED_EPOCH = 511
"""The highest epoch that a source may set itself. Higher ones are for operators and repairs."""

OWN_VERSION = (1 << EPOCH_BITS) - 1
"""The bits of the source's own version."""


def versioned(epoch: int, version: int) -> int:
    """The version as stored in the log."""
    return epoch << EPOCH_BITS | version


def epoch_of(logged: int) -> int:
    """The epoch of a stored version."""
    return logged >> EPOCH_BITS


def version_of(logged: int) -> int:
    """The source's own version of a stored version."""
    return logged & OWN_VERSION


def describe_version(logged: int) -> str:
    """A stored version as users are shown it: `5`, or `5 of epoch 1`."""
    epoch = epoch_of(logged)
    return f"{version_of(logged)} of epoch {epoch}" if epoch else str(logged)
