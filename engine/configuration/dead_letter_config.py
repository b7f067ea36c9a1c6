"""`[dead_letters]`: how long the content of dead letters is kept."""

from typing import Annotated

from msgspec import Meta

from pagefold.engine.configuration.toml_tables import Table

MAX_DAYS = 36_500


class DeadLettersConfig(Table, frozen=True):
    """How long the content of dead letters is kept. The rest of them is kept forever."""

    request_days: Annotated[
        float,
        Meta(
            gt=0,
            le=MAX_DAYS,
            description="Days after which the body of an open dead letter is removed that could not be turned into an "
            "event: a part of a webhook, or a change of a table. Nothing else has it.",
        ),
    ] = 90.0
    request_resolved_days: Annotated[
        float,
        Meta(
            gt=0,
            le=MAX_DAYS,
            description="Days after the resolution of such a dead letter after which its body is removed.",
        ),
    ] = 30.0
    conflict_days: Annotated[
        float,
        Meta(
            gt=0,
            le=MAX_DAYS,
            description="Days after which the event of an open conflict is removed: the log has another content at "
            "its version. Nothing else has it.",
        ),
    ] = 90.0
    conflict_resolved_days: Annotated[
        float,
        Meta(
            gt=0, le=MAX_DAYS, description="Days after the resolution of a conflict after which its event is removed."
        ),
    ] = 30.0
    projection_days: Annotated[
        float,
        Meta(
            gt=0,
            le=MAX_DAYS,
            description="Days after which the open dead letter of an event that could not be folded loses its copy of "
            "the event. The log keeps the event.",
        ),
    ] = 90.0
    projection_resolved_days: Annotated[
        float,
        Meta(
            gt=0,
            le=MAX_DAYS,
            description="Days after the resolution of such a dead letter after which that copy is removed.",
        ),
    ] = 30.0
    waiting_days: Annotated[
        float,
        Meta(
            gt=0,
            le=MAX_DAYS,
            description="Days after which the body of an open dead letter is removed that waits for a reference. It is "
            "not taken any more then. Nothing else has it.",
        ),
    ] = 90.0
    waiting_resolved_days: Annotated[
        float,
        Meta(gt=0, le=MAX_DAYS, description="Days after such a dead letter was taken after which its body is removed."),
    ] = 7.0
