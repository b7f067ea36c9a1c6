"""The key figures of a shop (KPIs), each with its limit.

`pagefold status`, `/metrics`, alerts, the dashboard, the rules for Prometheus and docs/kpis.md are made from `KPIS`. To
add one, add it here, and its measurement to `pagefold.engine.monitoring.measurements`.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

Unit: TypeAlias = Literal["seconds", "ratio", "count", "per minute"]
"""What a value is in. A ratio is a fraction: 0.01 is one percent."""

Severity: TypeAlias = Literal["critical", "warning"]
"""`critical`: pages are wrong or late, or soon will be. `warning`: a person should look at it during the day."""

SEVERITIES: tuple[Severity, ...] = ("critical", "warning")

HOUR = 3_600.0
MINUTE = 60.0


class Kpi(msgspec.Struct, frozen=True, kw_only=True):
    """One key figure. It is crossed while its value is above the threshold.

    `labelled_by` says what there is one value for each of; empty if there is one value. `window` is in seconds: a ratio
    or a rate is that of this time, up to now; anything else must be above the threshold all this time. A ratio of fewer
    than `minimum` is never crossed: one of three says nothing. `text` says what is measured, `meaning` what it means if
    crossed. `section` is that of docs/runbooks.md, if it is not named as the key figure.
    """

    name: str
    title: str
    unit: Unit
    threshold: float
    window: float = 0.0
    minimum: int = 1
    severity: Severity
    labelled_by: str = ""
    text: str
    meaning: str
    section: str = ""

    @property
    def runbook(self) -> str:
        """Its anchor in docs/runbooks.md."""
        return self.section or self.name


KPIS: tuple[Kpi, ...] = (
    Kpi(
        name="lag",
        title="Lag",
        unit="seconds",
        threshold=5 * MINUTE,
        severity="critical",
        labelled_by="domain",
        text="Age of the oldest event of a domain that is not folded yet",
        meaning="pages are late: no worker runs, or it is too slow",
    ),
    Kpi(
        name="queue",
        title="Queue",
        unit="count",
        threshold=1_000,
        window=5 * MINUTE,
        severity="warning",
        labelled_by="queue",
        text="What waits: events in `append`, and records in `fetch SOURCE`",
        meaning="more comes in than is taken",
    ),
    Kpi(
        name="failures",
        title="Failures",
        unit="ratio",
        threshold=0.01,
        window=HOUR,
        minimum=20,
        severity="critical",
        text="Events that could not be folded, were rejected, or could not be made of a request, of all",
        meaning="a source sends what its contract or a domain does not allow",
    ),
    Kpi(
        name="conflicts",
        title="Conflicts",
        unit="ratio",
        threshold=0.05,
        window=HOUR,
        minimum=20,
        severity="warning",
        text="Events whose version is in the log with another content, of all",
        meaning="two systems write under one name, or one does not raise its versions",
    ),
    Kpi(
        name="drift",
        title="Drift",
        unit="ratio",
        threshold=0.001,
        window=8 * 24 * HOUR,
        minimum=1,  # one section that differs is one that is wrong, however few were read
        severity="critical",
        text="Sections that differ from the log, of those that the newest comparison has read",
        meaning="pages do not show what the log says",
    ),
    Kpi(
        name="throttled",
        title="429 answers",
        unit="per minute",
        threshold=60,
        window=MINUTE,
        severity="warning",
        labelled_by="source",
        text="Answers of a source that say that it was asked too often",
        meaning="its limit is lower than what is asked of it: syncs, rebuilds and fetches are slow",
    ),
    Kpi(
        name="refused",
        title="Refused requests",
        unit="per minute",
        threshold=60,
        window=MINUTE,
        severity="warning",
        text="Requests that this shop has answered with 429 or 503",
        meaning="events come in faster than they are stored, and some senders do not send them again",
    ),
    Kpi(
        name="dead-letters",
        title="Dead letters",
        unit="count",
        threshold=1_000,
        severity="warning",
        labelled_by="kind",
        text="Open dead letters: a `request`, a `conflict`, a `delivery`, or of the `projection`",
        meaning="they need a person: what they say is not on the pages, or not at a target",
    ),
    Kpi(
        name="expiring",
        title="Expiring dead letters",
        unit="count",
        threshold=0,
        severity="warning",
        text="Open dead letters that lose their content within a week, and nothing else has it",
        meaning="what a source said will be lost",
    ),
    Kpi(
        name="schema-drift",
        title="Changed fields",
        unit="count",
        threshold=0,
        severity="warning",
        labelled_by="source",
        text="Fields of records that have vanished, have another type, or values that no table has",
        meaning="the source has changed what it sends",
    ),
    Kpi(
        name="unmapped",
        title="Unmapped attributes",
        unit="count",
        threshold=0,
        severity="warning",
        labelled_by="source",
        text="Fields of records that are new, and that no contract maps",
        meaning="the source has attributes that no page shows",
    ),
    Kpi(
        name="source-overdue",
        title="Overdue",
        unit="seconds",
        threshold=0,
        severity="critical",
        labelled_by="source",
        text="For how long a source should have been synced, polled or rebuilt to its end",
        meaning="changes of the source are not on the pages",
    ),
    Kpi(
        name="looks-reset",
        title="Looks reset",
        unit="count",
        threshold=0,
        severity="critical",
        labelled_by="source and domain",
        text="Events in a row that were older than the stored ones, although they occurred later",
        meaning="the source has restarted its counter, and its events change nothing",
    ),
    Kpi(
        name="held-runs",
        title="Held runs",
        unit="count",
        threshold=0,
        severity="warning",
        labelled_by="source",
        text="Rebuilds and syncs that would remove more than they may",
        meaning="a person has to approve or refuse each",
    ),
    Kpi(
        name="failed-rebuilds",
        title="Failed rebuilds",
        unit="count",
        threshold=0,
        severity="warning",
        labelled_by="source",
        text="Rebuilds of a source that have failed since the newest that was complete, by the schedule or by hand; "
        "and the newest one, if its process is gone",
        meaning="what the source said, and its events lost, is not on the pages",
    ),
    Kpi(
        name="not-applied",
        title="Not applied",
        unit="count",
        threshold=0,
        severity="warning",
        text="1 if channels or sources of the file are not those that pages are folded under",
        meaning="a person has to apply the plan, or to take the change back",
    ),
    Kpi(
        name="delivery-failures",
        title="Delivery failures",
        unit="ratio",
        threshold=0.05,
        window=HOUR,
        minimum=20,
        severity="warning",
        labelled_by="target",
        text="Attempts to deliver a page that the target has refused, or answered with an error, of all",
        meaning="the target does not take what it is sent; a page that it refuses is given up after some tries",
    ),
    Kpi(
        name="delivery-queue",
        title="Delivery queue",
        unit="count",
        threshold=1_000,
        window=15 * MINUTE,
        severity="warning",
        labelled_by="target",
        text="Pages that wait to be delivered",
        meaning="more changes than the target takes; after a large import, that passes",
        section="delivery-lag",
    ),
    Kpi(
        name="delivery-lag",
        title="Delivery lag",
        unit="seconds",
        threshold=15 * MINUTE,
        severity="critical",
        labelled_by="target",
        text="Age of the oldest change of a page that waits to be delivered",
        meaning="the target shows old pages: no worker runs, or the target is down, or slow",
    ),
    Kpi(
        name="delivery-throttled",
        title="Delivery 429s",
        unit="per minute",
        threshold=60,
        window=5 * MINUTE,
        severity="warning",
        labelled_by="target",
        text="Answers of a target that say that it was sent too much",
        meaning="its limit is lower than `rate` and `concurrency`, or others send to it, too",
    ),
    Kpi(
        name="outbound-drift",
        title="Outbound drift",
        unit="ratio",
        threshold=0.01,
        window=8 * 24 * HOUR,
        minimum=1,  # one page that differs is one that is wrong, however few were read
        severity="critical",
        labelled_by="target",
        text="Pages that were given up, or that the newest comparison with the target found to differ, of all",
        meaning="the target holds other pages than the shop, and nothing is on its way to change that",
    ),
    Kpi(
        name="target-down",
        title="Target down",
        unit="seconds",
        threshold=5 * MINUTE,
        severity="critical",
        labelled_by="target",
        text="For how long a target to which nothing is delivered has had no success",
        meaning="it does not answer or refuses us, it is disabled, or a secret or a library is missing",
    ),
    Kpi(
        name="sagas-stuck",
        title="Sagas that need a person",
        unit="count",
        threshold=0,
        severity="critical",
        labelled_by="saga",
        text="Pages of a saga of which a target has refused what it must take",
        meaning="some targets have a version that others do not, until a person decides or the page changes",
    ),
    Kpi(
        name="checks",
        title="Failed checks",
        unit="count",
        threshold=0,
        severity="critical",
        labelled_by="check",
        text="1 if a check of readiness fails",
        meaning="pages cannot be read, or changes cannot be sent",
    ),
)

BY_NAME: Mapping[str, Kpi] = {each.name: each for each in KPIS}
