"""Epochs, for operators: list them, raise them, and dismiss reset alarms."""

from typing import Annotated

import msgspec
from starlette.responses import Response

from pagefold.engine.http.json_response import reply
from pagefold.engine.http.operator_routes import Reason, decision_route, read_decision, read_route
from pagefold.engine.http.routes.history import DomainName
from pagefold.engine.http.routes.pages import Text
from pagefold.engine.http.routing import Call, ResponseSpec
from pagefold.engine.intake.epoch_registry import Note
from pagefold.engine.intake.epoch_service import MAX_LISTED_NOTES, EpochNote
from pagefold.engine.runtime.store_timeout import with_timeout
from pagefold.projections.epochs import MAX_EPOCH


class EpochList(msgspec.Struct, frozen=True):
    """The raised epochs and dismissed alarms, newest first."""

    items: list[EpochNote]


class RaiseEpochRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Raises the epoch of a source, or of a stream `sku/channel/domain/source`, to the next one or to `epoch`."""

    scope: Annotated[str, msgspec.Meta(min_length=1, max_length=1_024)]
    reason: Reason
    epoch: Annotated[int, msgspec.Meta(ge=1, le=MAX_EPOCH)] | None = None


class DismissResetRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Dismisses the reset alarm of a source, in one domain or in all."""

    source: Text
    reason: Reason
    domain: DomainName | None = None


async def listing(call: Call) -> Response:
    """Lists raised epochs and dismissed alarms."""
    return reply(EpochList(await with_timeout(call.service.shop.epochs.list())))


async def raising(call: Call) -> Response:
    """Raises an epoch, under the name of the caller's token."""
    wanted = await read_decision(call, RaiseEpochRequest)
    epochs = call.service.shop.epochs
    return reply(
        await epochs.raise_epoch(wanted.scope, reason=wanted.reason, operator=call.grant.name, epoch=wanted.epoch)
    )


async def dismissing(call: Call) -> Response:
    """Dismisses an alarm, under the name of the caller's token."""
    given = await read_decision(call, DismissResetRequest)
    epochs = call.service.shop.epochs
    return reply(await epochs.dismiss(given.source, reason=given.reason, operator=call.grant.name, domain=given.domain))


ROUTES = (
    read_route(
        "/v1/epochs",
        listing,
        "listEpochs",
        f"List raised epochs and dismissed alarms; the newest {MAX_LISTED_NOTES:,}",
        ResponseSpec(200, "All of them", EpochList),
    ),
    decision_route(
        "/v1/epochs",
        raising,
        "raiseEpoch",
        "Raise the epoch of a source or stream, whose versions may then restart",
        ResponseSpec(200, "Events without an epoch enter it from now on", Note),
        body=RaiseEpochRequest,
    ),
    decision_route(
        "/v1/epochs:dismiss",
        dismissing,
        "dismissReset",
        "Dismiss the reset alarm of a source",
        ResponseSpec(200, "The alarm is cleared", Note),
        body=DismissResetRequest,
    ),
)
