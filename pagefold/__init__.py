"""Pagefold: ready-made product pages, folded from every change that a commerce platform's systems report.

    async with pagefold.open("pagefold.toml") as shop:
        results = await shop.append(events)
        await shop.catch_up()
        body = await shop.pages.get_json("TSHIRT-M", "web-de")

What is named here is the public surface; everything else may change.
"""

from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import (
    ConfigurationError,
    LogReplaced,
    PagefoldError,
    PagesUnfolded,
    Rejected,
    SourceFailed,
    StoreError,
    StoreNotFound,
    StoreTooNew,
    StoreUnavailable,
)
from pagefold.engine.events import AppendResult, DomainEvent
from pagefold.engine.intake.event_parser import parse_event
from pagefold.engine.reading.history import HistoryEntry
from pagefold.engine.reading.page_reader import ProductPage
from pagefold.engine.reading.status import Status
from pagefold.engine.replay.replayer import ReplayResult, SectionDrift
from pagefold.engine.shop import Shop, open  # noqa: A004  # `pagefold.open` is the name that reads well where it is used
from pagefold.projections.field_changes import FieldChange

__all__ = [
    "AppendResult",
    "Config",
    "ConfigurationError",
    "DomainEvent",
    "FieldChange",
    "HistoryEntry",
    "LogReplaced",
    "PagefoldError",
    "PagesUnfolded",
    "ProductPage",
    "Rejected",
    "ReplayResult",
    "SectionDrift",
    "Shop",
    "SourceFailed",
    "Status",
    "StoreError",
    "StoreNotFound",
    "StoreTooNew",
    "StoreUnavailable",
    "open",
    "parse_event",
]
