"""The audit: who did what, when and why, and what came of it."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from starlette.responses import Response

from pagefold.engine.audit.audit_views import AuditSummary, audit_summary
from pagefold.engine.dashboard.formats import number
from pagefold.engine.dashboard.screen import Screen, State, shown_at
from pagefold.engine.dashboard.visit import Visit
from pagefold.engine.stores.audit_records import AuditFilter

ENTRIES_SHOWN = 50

Short = Annotated[str, msgspec.Meta(max_length=256)]

STATES: Mapping[str | None, State] = {"done": "ok", "refused": "wait", "failed": "bad", "stopped": "warn", None: "move"}

COMMANDS = (
    "apply",
    "audit",
    "backup",
    "contracts",
    "dead-letters",
    "epochs",
    "fetches",
    "ingest",
    "init",
    "plan",
    "plans",
    "rebuild",
    "rebuilds",
    "recover",
    "releases",
    "requests",
    "restore",
    "sagas",
    "sign-in",
    "sign-out",
    "sync",
    "targets",
    "tokens",
    "verify",
)
"""The commands whose actions have entries."""


class AuditQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which entries are listed. Blank is any."""

    by: Short = ""
    action: Short = ""
    target: Short = ""
    after: Annotated[str, msgspec.Meta(max_length=18)] = ""


async def show(visit: Visit) -> Response:
    """The newest entries that are selected."""
    query = visit.query(AuditQuery)
    wanted = AuditFilter(query.by or None, query.action or None, query.target or None)
    page = await visit.shop.audit.page(wanted, after=query.after or None, limit=ENTRIES_SHOWN)
    return await visit.page(
        "audit",
        query=query,
        entries=[(entry, STATES[entry.outcome], counts_text(entry)) for entry in map(audit_summary, page.entries)],
        older=None if page.next is None else visit.address_with(after=page.next),
        commands=COMMANDS,
        options=_options(query),
    )


def _options(query: AuditQuery) -> list[str]:
    """The filter, as options of the command."""
    given = {"by": query.by, "action": query.action, "target": query.target}
    return [word for name, value in given.items() if value for word in (f"--{name}", value)]


def counts_text(entry: AuditSummary) -> str:
    """What was counted, and other details in a few words; samples are shown apart."""
    words = []
    for name, value in entry.details.items():
        text = number(value) if isinstance(value, int) else ", ".join(value) if isinstance(value, list) else value
        if text and name != "samples":
            words.append(f"{name} {text}")
    return ", ".join(words)


SCREEN = Screen("audit", "Audit", "n-audit", "Flow", [shown_at("/ui/audit", show, AuditQuery)])
