"""The log as a persistence module of the `eventsourcing` library, on either store.

Any `eventsourcing.application.Application` keeps its events in the same log as the shop's, under the same promises,
when its environment has these variables, which may be prefixed with the application's name as always:

    PERSISTENCE_MODULE=pagefold.engine.recorders
    PAGEFOLD_STORE=sqlite:///var/shop       the store's URL, as in the configuration; or
    PAGEFOLD_CONFIG=pagefold.toml           the configuration itself

`PAGEFOLD_SCHEMA` names the PostgreSQL schema where it is not `pagefold`. `ORIGINATOR_ID_TYPE` is `uuid`, unless it is
set to `text`: then identifiers are given back as the strings that they are stored as. With `CREATE_TABLE=no` there must
be a store already.

The log has one sequence of positions. A notification log shows the shop's domain events and those of other applications
as well: followers and projections name the topics that they want. The shop's own consumers see only domain events.
"""

from pagefold.engine.recorders.factory import PagefoldFactory
from pagefold.engine.recorders.log_recorders import (
    PagefoldAggregateRecorder,
    PagefoldApplicationRecorder,
    PagefoldProcessRecorder,
    PagefoldTrackingRecorder,
)
from pagefold.engine.recorders.subscription import PagefoldSubscription

__all__ = [
    "PagefoldAggregateRecorder",
    "PagefoldApplicationRecorder",
    "PagefoldFactory",
    "PagefoldProcessRecorder",
    "PagefoldSubscription",
    "PagefoldTrackingRecorder",
]
