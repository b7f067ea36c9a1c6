"""Changes of a source's tables, sent by Debezium and completed from the log.

Debezium's sink retries a request a few times and then stops for good. A row that cannot be taken is therefore kept, as
a webhook is.
"""

from starlette.responses import Response

from pagefold.engine.http.authorization import check_source
from pagefold.engine.http.delivery_answers import ANSWERS, OVERLOADED, accepted, any_type, request_of
from pagefold.engine.http.problems import Problem
from pagefold.engine.http.routes.events import NDJSON_TYPE
from pagefold.engine.http.routing import JSON_TYPE, Call, Route


async def receive(call: Call) -> Response:
    """Appends the changes of rows. Messages that are not about a relevant row are ignored."""
    source, intake = call.path["source"], call.service.intake
    check_source(call.grant, source)
    reader = intake.tables.get(source)
    if reader is None:
        raise Problem(404, "no CDC is configured for this source")
    await intake.check_room()
    body = await call.body()
    return accepted(await intake.take(request_of(call, "cdc", source, body, reader), reader))


ROUTES = (
    Route(
        "POST",
        "/v1/cdc/{source}",
        receive,
        "appendChanges",
        "Append changes of a source's tables, in Debezium's form",
        scope="ingest",
        bodies={JSON_TYPE: object, NDJSON_TYPE: str},
        takes=any_type,
        pushed=True,
        answers=ANSWERS,
        problems=OVERLOADED | {404: "No CDC is configured for the source"},
    ),
)
