"""Ingest responses: one outcome per item, and a status for all, some or none accepted."""

from collections.abc import Collection, Sequence
from typing import Literal, TypeAlias

import msgspec
from starlette.responses import Response

from pagefold.engine.events import AppendResult
from pagefold.engine.http.json_response import reply
from pagefold.engine.http.problems import MEDIA_TYPE, Problem, ProblemDetails, response
from pagefold.engine.http.routing import ResponseSpec

ItemOutcomeKind: TypeAlias = Literal[
    "appended", "duplicate", "echo", "conflict", "rejected", "kept", "wanted", "ignored"
]
TAKEN: frozenset[ItemOutcomeKind] = frozenset(["appended", "duplicate", "echo", "kept", "wanted", "ignored"])
"""After these, the sender has nothing left to do."""


class ItemOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """The outcome of one item.

    `appended`: it is durably in the log, at `position`. `duplicate`: it was there already. `echo`: its
    source is a target, too, and says only what it was sent. `conflict`: its version is
    stored with other content, at `position`; this one is kept in dead letters. `rejected`: it breaks a rule, at `path`,
    for this `reason`. `kept`: this part of what a contract reads could not become an event, and is kept in dead letters
    for an operator to retry. `wanted`: it has only the id of a record, which will be fetched. `ignored`: it belongs to
    another channel or table, is not about a row, or is excluded by a filter; `reason` says which.
    """

    outcome: ItemOutcomeKind
    position: int | None = None
    path: str | None = None
    reason: str | None = None


class Outcomes(msgspec.Struct, frozen=True):
    """The outcome of each item, in order."""

    results: list[ItemOutcome]


class NothingTaken(ProblemDetails, frozen=True, omit_defaults=True):
    """The problem that no item was accepted. `results` is absent if they were not validated."""

    results: list[ItemOutcome] = msgspec.field(default_factory=list)


ANSWERS = (
    ResponseSpec(202, "All were accepted, durably", Outcomes),
    ResponseSpec(207, "Some were accepted, durably, and some not", Outcomes),
    ResponseSpec(422, "None was accepted", NothingTaken, MEDIA_TYPE),
)
OVERLOADED = {429: "The append queue is full: nothing was accepted; `Retry-After` says when to send it again"}


def outcome_of(result: AppendResult) -> ItemOutcome:
    """The outcome of an event."""
    return ItemOutcome(result.outcome, result.position, result.path, result.reason)


def answer(outcomes: Sequence[ItemOutcome], settled: Collection[int] = ()) -> Response:
    """The response: 202 if all were accepted, 207 if some, 422 if none.

    `settled` are the items with whose outcome their sender has nothing to do, whatever it is.
    """
    taken = sum([each.outcome in TAKEN or number in settled for number, each in enumerate(outcomes)])
    if taken or not outcomes:
        return reply(Outcomes(list(outcomes)), 202 if taken == len(outcomes) else 207)
    detail = outcomes[0].reason or "" if len(outcomes) == 1 else f"none of {len(outcomes)} items was accepted"
    problem = Problem(422, detail)
    problem.details = NothingTaken(problem.details.title, 422, detail=detail, results=list(outcomes))
    return response(problem)
