"""The completeness of a channel's pages."""

import msgspec
from starlette.responses import Response

from pagefold.engine.http.json_response import reply
from pagefold.engine.http.problems import Problem, invalid, no_channel
from pagefold.engine.http.routes.pages import Text
from pagefold.engine.http.routing import Call, ResponseSpec, Route
from pagefold.engine.reading.completeness import CompletenessReport, is_measured
from pagefold.engine.reading.page_selection import PageSelection


class CompletenessQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which pages are counted: of a family, of a category, with an attribute such as `color` or `color=red`."""

    family: Text | None = None
    category: Text | None = None
    attribute: Text | None = None


async def completeness(call: Call) -> Response:
    """What `pagefold completeness` shows. Pages are counted, unless they were some seconds ago."""
    query = call.query(CompletenessQuery)
    channel = call.path["channel"]
    config = call.service.shop.applied.config
    if channel not in config.channels:
        raise no_channel()
    if not is_measured(config, channel):
        raise Problem(404, "this channel has neither requirements nor a contract")
    selection = PageSelection(query.family, query.category, query.attribute)
    if (problem := selection.problem) is not None:
        raise invalid(*problem)
    await call.service.check_store_answers()
    return reply(await call.service.shop.completeness.recent(channel, selection))


ROUTES = (
    Route(
        "GET",
        "/v1/channels/{channel}/completeness",
        completeness,
        "getCompleteness",
        "How complete the pages of a channel are, by family and attribute, and what to fill first",
        scope="read",
        private=True,
        query=CompletenessQuery,
        answers=[ResponseSpec(200, "The counts", CompletenessReport)],
        problems={404: "Unknown channel, or one with neither requirements nor a contract"},
    ),
)
