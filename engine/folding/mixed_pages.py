"""Marks a domain whose pages are partly folded under another configuration, until all are folded again under one."""

from pagefold.engine.stores.store import Checkpoint, FoldTransaction

MIXED = ""
"""The fingerprint of a domain while its pages are folded again. No configuration has it, not even the former one."""


async def mark_mixed(transaction: FoldTransaction, fingerprint: str) -> Checkpoint:
    """Marks the domain before pages are written under another configuration than the one that its checkpoint names.

    Returns the checkpoint as it is stored then.
    """
    checkpoint = transaction.checkpoint
    if checkpoint.fingerprint in (None, MIXED, fingerprint):
        return checkpoint
    return await transaction.advance(checkpoint._replace(fingerprint=MIXED))
