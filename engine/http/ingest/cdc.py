"""What Debezium tells of a source's tables: changes of rows, completed with what the log has."""

from starlette.responses import Response

from engine.completing import Completer
from engine.formats.debezium import Ignored
from engine.http.access import check_source
from engine.http.ingest.events import NDJSON_TYPE
from engine.http.ingest.outcomes import ANSWERS, OVERLOADED, ItemOutcome, answer, outcome_of
from engine.http.problems import Problem
from engine.http.routes import JSON_TYPE, Call, Route


async def receive(call: Call) -> Response:
    """Appends what changes of rows state. What is about no row is ignored, and as good as taken."""
    source, intake = call.path["source"], call.service.intake
    check_source(call.grant, source)
    debezium = intake.tables.get(source)
    if debezium is None:
        raise Problem(404, "there are no tables of such a source")
    await intake.check_room()
    found = await intake.read(debezium.read, await call.body())
    changes = [each for each in found if not isinstance(each, Ignored)]
    completed = await Completer(call.service.config, call.service.shop.store.log).complete(changes)
    results = iter(await intake.append(completed))
    return answer(
        [
            ItemOutcome("ignored", reason=each.reason) if isinstance(each, Ignored) else outcome_of(next(results))
            for each in found
        ]
    )


ROUTES = (
    Route(
        "POST",
        "/v1/cdc/{source}",
        receive,
        "appendChanges",
        "Append changes of a source's tables, as Debezium tells them",
        scope="ingest",
        bodies={JSON_TYPE: object, NDJSON_TYPE: str},
        answers=ANSWERS,
        problems=OVERLOADED | {404: "The source has no tables"},
    ),
)
