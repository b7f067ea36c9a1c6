"""What is different in the pages of a product between two moments."""

from typing import Annotated

import msgspec
from starlette.responses import Response

from pagefold.engine.http.json_response import reply
from pagefold.engine.http.past_reads import given_view
from pagefold.engine.http.problems import invalid
from pagefold.engine.http.routing import Call, ResponseSpec, Route
from pagefold.engine.plans.page_changes import PageChange
from pagefold.engine.plans.planner import PlannedRange
from pagefold.engine.runtime.store_timeout import with_timeout
from pagefold.projections import normalise_sku
from pagefold.projections.streams import is_storable_sku, sku_error

MomentText = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]

DiffQuery = msgspec.defstruct(
    "DiffQuery",
    [("from", MomentText), ("to", MomentText | None, None)],
    frozen=True,
    forbid_unknown_fields=True,
)
"""Two moments: positions of the log, or times (RFC 3339). Without `to`, the end of the log. `from` is a keyword."""


class SkuDifferences(msgspec.Struct, frozen=True):
    """The positions that were compared, and the pages that differ, by channel."""

    from_position: int = msgspec.field(name="from")
    to_position: int = msgspec.field(name="to")
    changes: list[PageChange]


async def diff(call: Call) -> Response:
    """The pages of a product that differ, with both values of each field, disabled pages as well."""
    query, shop = msgspec.structs.asdict(call.query(DiffQuery)), call.service.shop
    sku = normalise_sku(call.path["sku"])
    if not is_storable_sku(sku) and (fault := sku_error(sku)) is not None:
        raise invalid("sku", fault)
    before = await given_view(call.service, query["from"], "from")
    end: str | None = query["to"]
    after = await with_timeout(shop.past.view(None)) if end is None else await given_view(call.service, end, "to")
    changes: list[PageChange] = []

    def keep(part: PlannedRange) -> None:
        changes.extend(part.changes)

    await with_timeout(shop.diff(before, after, sku=sku, on_planned=keep, every_change=True))
    return reply(SkuDifferences(before.moment.position, after.moment.position, changes))


ROUTES = (
    Route(
        "GET",
        "/v1/skus/{sku}/diff",
        diff,
        "getDiff",
        "Show what is different in the pages of an SKU between two moments",
        scope="read",
        private=True,
        query=DiffQuery,
        answers=[ResponseSpec(200, "The pages that differ, by channel", SkuDifferences)],
    ),
)
