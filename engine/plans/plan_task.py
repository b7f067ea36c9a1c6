"""What a process that plans is to do. The module that such a process runs must not be imported by others."""

import msgspec

from pagefold.engine.plans.page_view import SentView


class PlanTask(msgspec.Struct, frozen=True, array_like=True):
    """Two views, and whether every change is named."""

    before: SentView
    after: SentView
    every_change: bool
