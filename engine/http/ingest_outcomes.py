"""What is answered: one outcome an item, and a status that tells whether all of them, some or none were taken."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec
from starlette.responses import Response

from pagefold.engine.events import AppendResult
from pagefold.engine.http.json_response import reply
from pagefold.engine.http.problems import MEDIA_TYPE, Problem, ProblemDetails, response
from pagefold.engine.http.routing import ResponseSpec

ItemOutcomeKind: TypeAlias = Literal["appended", "duplicate", "conflict", "rejected", "kept", "ignored"]
TAKEN: frozenset[ItemOutcomeKind] = frozenset(["appended", "duplicate", "kept", "ignored"])
"""After these, there is nothing left for the sender to do."""


class ItemOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one item.

    `appended`: it is in the log, at `position`, whatever happens now. `duplicate`: it was there already. `conflict`:
    another content stands at its version, at `position`; this one is kept in dead letters. `rejected`: it breaks a
    rule, at `path`, for this `reason`. `kept`: no event could be made of this part of a webhook, or of this change, and
    it is kept for an operator, who can try it again. `ignored`: nobody here asks for it, for this `reason`: it is of
    another channel or table, about no row, or does not count by the configuration.
    """

    outcome: ItemOutcomeKind
    position: int | None = None
    path: str | None = None
    reason: str | None = None


class Outcomes(msgspec.Struct, frozen=True):
    """What became of each item, in order."""

    results: list[ItemOutcome]


class NothingTaken(ProblemDetails, frozen=True, omit_defaults=True):
    """The problem that none of the items was taken. Where they were not looked at, there are no `results`."""

    results: list[ItemOutcome] = msgspec.field(default_factory=list)


ANSWERS = (
    ResponseSpec(202, "All are taken, durably", Outcomes),
    ResponseSpec(207, "Some are taken, durably, and some not", Outcomes),
    ResponseSpec(422, "None is taken", NothingTaken, MEDIA_TYPE),
)
OVERLOADED = {429: "More waits to be done than may: nothing was taken; `Retry-After` says when to send it again"}


def outcome_of(result: AppendResult) -> ItemOutcome:
    """The outcome of an event."""
    return ItemOutcome(result.outcome, result.position, result.path, result.reason)


def answer(outcomes: Sequence[ItemOutcome]) -> Response:
    """All are taken: 202, some: 207, none: 422."""
    taken = sum([each.outcome in TAKEN for each in outcomes])
    if taken or not outcomes:
        return reply(Outcomes(list(outcomes)), 202 if taken == len(outcomes) else 207)
    detail = outcomes[0].reason or "" if len(outcomes) == 1 else f"none of {len(outcomes)} items was taken"
    problem = Problem(422, detail)
    problem.details = NothingTaken(problem.details.title, 422, detail=detail, results=list(outcomes))
    return response(problem)
