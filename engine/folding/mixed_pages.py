"""Marks a domain whose pages are folded under several configurations, until all are folded again under one.

The fingerprint of its checkpoint then has those of all of them, so that a worker can find what they differ in.
"""

from collections.abc import Sequence

from pagefold.engine.stores.store import Checkpoint, FoldTransaction

MIXED = ""
"""The fingerprint of a domain whose pages may be folded under any configuration."""

SEPARATOR = "+"

MAX_FINGERPRINTS = 8
"""Configurations that are distinguished. Pages of more may be of any."""


def fingerprints_in(fingerprint: str) -> Sequence[str]:
    """The fingerprints of the configurations under which pages are folded. Empty if it may be any."""
    return [] if fingerprint == MIXED else fingerprint.split(SEPARATOR)


async def mark_mixed(transaction: FoldTransaction, fingerprint: str) -> Checkpoint:
    """Marks the domain before pages are written under another configuration than those that its checkpoint names.

    Returns the checkpoint as it is stored then.
    """
    checkpoint = transaction.checkpoint
    if checkpoint.fingerprint in (None, MIXED):
        return checkpoint
    known = fingerprints_in(checkpoint.fingerprint)
    if fingerprint in known:
        return checkpoint
    mixed = MIXED if len(known) == MAX_FINGERPRINTS else SEPARATOR.join([*known, fingerprint])
    return await transaction.advance(checkpoint._replace(fingerprint=mixed))
