"""The audit, for operators: who did what."""

from typing import Annotated

import msgspec
from starlette.responses import Response

from pagefold.engine.audit.audit_log import MAX_LISTED
from pagefold.engine.audit.audit_views import AuditSummary, audit_summary
from pagefold.engine.http.json_response import reply
from pagefold.engine.http.operator_routes import read_route
from pagefold.engine.http.routes.pages import Text
from pagefold.engine.http.routing import Call, ResponseSpec
from pagefold.engine.runtime.store_timeout import with_timeout
from pagefold.engine.stores.audit_records import AuditFilter


class AuditQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which entries are listed: of an actor, an action or all of a command, about a target; after a cursor."""

    actor: Text | None = None
    action: Text | None = None
    target: Text | None = None
    after: Annotated[str, msgspec.Meta(min_length=1, max_length=18)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LISTED)] = 100


class AuditChunk(msgspec.Struct, frozen=True):
    """One chunk of entries, newest first; `next` is the cursor of the next, null at the end."""

    items: list[AuditSummary]
    next: str | None


async def listing(call: Call) -> Response:
    """Lists entries, newest first."""
    query = call.query(AuditQuery)
    wanted = AuditFilter(query.actor, query.action, query.target)
    page = await with_timeout(call.service.shop.audit.page(wanted, after=query.after, limit=query.limit))
    return reply(AuditChunk([audit_summary(entry) for entry in page.entries], page.next))


ROUTES = (
    read_route(
        "/v1/audit",
        listing,
        "listAudit",
        "List who did what, newest first",
        ResponseSpec(200, "One chunk, and the cursor of the next", AuditChunk),
        query=AuditQuery,
    ),
)
