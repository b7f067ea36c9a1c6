"""What checks find, and for whom: for those who read pages, and for those who send changes."""

from typing import Literal, TypeAlias

import msgspec

Purpose: TypeAlias = Literal["reads", "ingest"]
"""What a server is asked for: pages, or to take changes and fold them."""


READS: tuple[Purpose, ...] = ("reads",)


INGEST: tuple[Purpose, ...] = ("ingest",)


PURPOSES = (*READS, *INGEST)


class CheckResult(msgspec.Struct, frozen=True, omit_defaults=True, rename={"purposes": "for"}):
    """What a check has found: `problem` is what is wrong, and absent when nothing is."""

    name: str
    purposes: tuple[Purpose, ...]
    ok: bool
    problem: str | None = None
