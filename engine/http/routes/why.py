"""Why a page is as it is: where each value is from, and what stopped the others."""

from typing import Annotated

import msgspec
from starlette.responses import Response

from pagefold.engine.explanations.explanation import PageExplanation
from pagefold.engine.explanations.selection import explanation_of
from pagefold.engine.http.json_response import reply
from pagefold.engine.http.problems import invalid, no_channel
from pagefold.engine.http.routing import Call, ResponseSpec, Route
from pagefold.engine.runtime.store_timeout import with_timeout
from pagefold.projections import normalise_sku
from pagefold.projections.streams import is_storable_sku, sku_error

MAX_PATH_CHARACTERS = 1_024


class WhyQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which place of the page, such as `pricing.amount`; all without."""

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PATH_CHARACTERS)] | None = None


async def why(call: Call) -> Response:
    """What `pagefold why --json` prints. Also for a product without a page."""
    query, channel, sku = call.query(WhyQuery), call.path["channel"], normalise_sku(call.path["sku"])
    if channel not in call.service.shop.applied.config.channels:
        raise no_channel()
    if not is_storable_sku(sku) and (fault := sku_error(sku)) is not None:
        raise invalid("sku", fault)
    page = await with_timeout(call.service.shop.why(sku, channel))
    return reply(page if query.path is None else explanation_of(page, query.path))


ROUTES = (
    Route(
        "GET",
        "/v1/pages/{channel}/{sku}/why",
        why,
        "explainPage",
        "Explain where each value of a page is from, and why others are not there",
        scope="read",
        private=True,
        query=WhyQuery,
        answers=[ResponseSpec(200, "The explanation, also of a page that does not exist", PageExplanation)],
        problems={404: "Unknown channel"},
    ),
)
