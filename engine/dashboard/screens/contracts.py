"""Contracts and drift: how the records of sources are read, and what in them has changed."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec
from starlette.responses import Response

from pagefold.engine.dashboard.addresses import href
from pagefold.engine.dashboard.formats import plural
from pagefold.engine.dashboard.screen import Badge, Decision, Screen, decided_at, shown_at
from pagefold.engine.dashboard.visit import Toast, Visit
from pagefold.engine.http.problems import Problem
from pagefold.engine.intake.contracts.listed_contracts import listed_contracts
from pagefold.engine.intake.contracts.record_fields import kinds_in
from pagefold.engine.intake.field_alerts import end_alerts
from pagefold.engine.shop import Shop
from pagefold.engine.stores.field_ledger import ALERT_WORDS, FIRST_FIELD, Alert, FieldEntry, FieldFilter, FieldKey

ALERTS_LISTED = 100
FIELDS_LISTED = 50


class ContractsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose fields are listed, and after which one the list continues: contract, family and field."""

    source: Annotated[str, msgspec.Meta(max_length=64)] = ""
    contract: Annotated[str, msgspec.Meta(max_length=200)] = ""
    family: Annotated[str, msgspec.Meta(max_length=1_000)] = ""
    after: Annotated[str, msgspec.Meta(max_length=2_000)] = ""


class AcknowledgeForm(Decision, frozen=True, kw_only=True):
    """Whose alerts end: those of a source's field, or of all its fields."""

    source: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    field: Annotated[str, msgspec.Meta(max_length=2_000)] = ""
    expected: Annotated[int, msgspec.Meta(ge=0)]


class FieldRow(NamedTuple):
    """A field of records: its place, what it is, and what has changed."""

    entry: FieldEntry
    kinds: str
    share: float | None
    words: str

    @property
    def runbook(self) -> str:
        """The section of the runbooks about what has changed."""
        return "unmapped" if self.entry.alert == "new" else "schema-drift"


async def show(visit: Visit) -> Response:
    """What has changed in the records of sources, and the contracts that read them."""
    query, store = visit.query(ContractsQuery), visit.shop.store
    alerts = [] if visit.part else await store.fields.entries(FieldFilter(alerts=True), limit=ALERTS_LISTED + 1)
    fields: Sequence[FieldEntry] = []
    if query.source:
        start = FieldKey(query.source, query.contract, query.family, query.after) if query.after else FIRST_FIELD
        fields = await store.fields.entries(FieldFilter(query.source), after=start, limit=FIELDS_LISTED + 1)
    counts = await store.fields.alert_counts()
    return await visit.page(
        "contracts",
        query=query,
        alerts=list(map(_row, alerts[:ALERTS_LISTED])),
        more_alerts=len(alerts) > ALERTS_LISTED,
        drifted=any(alert != "new" for _, alert, _ in counts),
        total=sum(number for _, _, number in counts),
        by_source=_by_source(counts),
        contracts=listed_contracts(visit.shop.config),
        channels=[(name, _identity(each.contract)) for name, each in visit.shop.applied.config.channels.items()],
        fields=list(map(_row, fields[:FIELDS_LISTED])),
        more_fields=len(fields) > FIELDS_LISTED,
    )


def _by_source(counts: Sequence[tuple[str, Alert, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for source, _, number in counts:
        found[source] = found.get(source, 0) + number
    return found


def _identity(contract: object) -> str:
    """The name and version of a channel's contract; empty without one."""
    return f"{contract.get('name', '')}@{contract.get('version', 1)}" if isinstance(contract, dict) else ""


def _row(entry: FieldEntry) -> FieldRow:
    share = entry.records / max(entry.all_records, 1) if entry.types else None
    words = "" if entry.alert is None else ALERT_WORDS[entry.alert]
    return FieldRow(entry, ", ".join(kinds_in(entry.types)), share, words)


async def acknowledge(visit: Visit) -> Response:
    """Ends alerts, if there are as many as were shown: the fields are as they shall be."""
    form, shop = visit.form(AcknowledgeForm), visit.shop
    if form.source not in shop.config.sources:
        raise Problem(404, "the configuration has no such source")
    selection = FieldFilter(form.source, field=form.field or None)
    given = {"by": visit.visitor.label, "reason": form.reason}
    number = await end_alerts(shop.store.fields, shop.audit, selection, expected=form.expected, **given)
    return visit.redirect(href("contracts"), Toast(f"{plural(number, 'alert')} of {form.source} ended."))


async def badge(shop: Shop) -> Badge | None:
    """How many fields have changed."""
    number = sum(number for _, _, number in await shop.store.fields.alert_counts())
    return Badge(f"{number:,} changed", "warn") if number else None


SCREEN = Screen(
    "contracts",
    "Contracts",
    "n-contracts",
    "Flow",
    [
        shown_at("/ui/contracts", show, ContractsQuery),
        decided_at("/ui/contracts:acknowledge", acknowledge, AcknowledgeForm),
    ],
    badge,
)
