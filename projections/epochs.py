"""Epochs: what orders before a source's version. Pure.

A source's counter may be restarted, and a record may be made again under an old SKU. Then versions begin anew, in the
next epoch: an event of a higher epoch is newer than all of lower ones, whatever its version. The log keeps both in one
number, so that it sorts as they do: the epoch in the bits from 2^53, and the source's own version below. People and
programs are shown the source's own version.
"""

EPOCH_BITS = 53
MAX_EPOCH = 1_023
"""The highest that fits into a 64-bit integer above a version."""

MAX_NAMED_EPOCH = 511
"""The highest that a source may name itself. Those above are for operators and for what heals."""

OWN_VERSION = (1 << EPOCH_BITS) - 1
"""The bits of the source's own version."""


def versioned(epoch: int, version: int) -> int:
    """The version as the log has it."""
    return epoch << EPOCH_BITS | version


def epoch_of(logged: int) -> int:
    """The epoch of a version in the log."""
    return logged >> EPOCH_BITS


def version_of(logged: int) -> int:
    """The source's own version of a version in the log."""
    return logged & OWN_VERSION


def describe_version(logged: int) -> str:
    """A version in the log as people are shown it: `5`, or `5 of epoch 1`."""
    epoch = epoch_of(logged)
    return f"{version_of(logged)} of epoch {epoch}" if epoch else str(logged)
