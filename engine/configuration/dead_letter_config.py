"""The table `[dead_letters]` of the configuration: for how long what dead letters say is kept."""

from typing import Annotated, TypeAlias

import msgspec

from pagefold.engine.configuration.toml_tables import Table

Days: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=36_500)]


class DeadLettersConfig(Table, frozen=True):
    """After how many days the body of a dead letter is removed: an open one's, and a resolved one's.

    A `request` is a part of a webhook, or a change of a table, of which no event could be made; a `conflict` an event
    that contradicts another; nothing else has what these say. A `projection` is an event in the log. The letter stays.
    """

    request_days: Days = 90.0
    request_resolved_days: Days = 30.0
    conflict_days: Days = 90.0
    conflict_resolved_days: Days = 30.0
    projection_days: Days = 90.0
    projection_resolved_days: Days = 30.0
