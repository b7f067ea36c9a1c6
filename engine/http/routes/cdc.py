"""What Debezium tells of a source's tables: changes of rows, completed with what the log has.

Its sink tries a request a few times and then stops for ever. So a row that cannot be taken is kept, as a webhook is.
"""

from starlette.responses import Response

from pagefold.engine.http.authorization import check_source
from pagefold.engine.http.delivery_answers import ANSWERS, OVERLOADED, accepted, any_type, request_of
from pagefold.engine.http.problems import Problem
from pagefold.engine.http.routes.events import NDJSON_TYPE
from pagefold.engine.http.routing import JSON_TYPE, Call, Route


async def receive(call: Call) -> Response:
    """Appends what changes of rows state. What is about no row that counts is ignored, and as good as taken."""
    source, intake = call.path["source"], call.service.intake
    check_source(call.grant, source)
    reader = intake.tables.get(source)
    if reader is None:
        raise Problem(404, "there are no tables of such a source")
    await intake.check_room()
    body = await call.body()
    return accepted(await intake.take(request_of(call, "cdc", source, body), reader))


ROUTES = (
    Route(
        "POST",
        "/v1/cdc/{source}",
        receive,
        "appendChanges",
        "Append changes of a source's tables, as Debezium tells them",
        scope="ingest",
        bodies={JSON_TYPE: object, NDJSON_TYPE: str},
        takes=any_type,
        pushed=True,
        answers=ANSWERS,
        problems=OVERLOADED | {404: "The source has no tables"},
    ),
)
