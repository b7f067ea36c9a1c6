"""The pace of the consumers and of appending: `[work]` and `[append]`."""

from typing import Annotated

from msgspec import Meta

from pagefold.engine.configuration.toml_tables import Table


class WorkConfig(Table, frozen=True):
    """The pace of the consumers."""

    batch: Annotated[
        int,
        Meta(ge=1, le=50_000, description="Maximum of log positions that one transaction folds while catching up."),
    ] = 8_000
    poll_seconds: Annotated[
        float,
        Meta(gt=0, le=60, description="Seconds after which a consumer looks for events whose notification was lost."),
    ] = 0.5
    lease_seconds: Annotated[
        float, Meta(ge=1, le=3_600, description="Seconds without a heartbeat after which a frozen worker is replaced.")
    ] = 10.0


class AppendConfig(Table, frozen=True):
    """Group commit: concurrent appends share transactions."""

    delay_seconds: Annotated[
        float, Meta(ge=0, le=0.005, description="Seconds that an append waits for others to share its transaction.")
    ] = 0.0
    batch: Annotated[int, Meta(ge=1, le=5_000, description="Maximum of events in one transaction.")] = 5_000
    queue: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Maximum of events that may be queued. Above, callers wait.")
    ] = 50_000
