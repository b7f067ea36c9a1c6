"""The results of readiness checks, and whom each concerns: readers of pages, or senders of events."""

from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

Purpose: TypeAlias = Literal["reads", "ingest"]
"""What a server is asked for: `reads` of pages, or `ingest`, which appends events and folds them."""


READS: tuple[Purpose, ...] = ("reads",)


INGEST: tuple[Purpose, ...] = ("ingest",)


PURPOSES = (*READS, *INGEST)


class CheckResult(msgspec.Struct, frozen=True, omit_defaults=True, rename={"purposes": "for"}):
    """The result of one check. `problem` says what is wrong, and is None when nothing is.

    A check without purposes says what a person should know; nothing waits for it.
    """

    name: str
    purposes: tuple[Purpose, ...]
    ok: bool
    problem: str | None = None


def are_ready(results: Iterable[CheckResult]) -> bool:
    """Whether every check that is needed for something holds."""
    return all(each.ok for each in results if each.purposes)
