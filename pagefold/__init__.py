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
    Refused,
    SourceFailed,
    StoreError,
    StoreMissing,
    StoreTooNew,
    StoreUnavailable,
)
from pagefold.engine.events import AppendResult, DomainEvent
from pagefold.engine.intake.event_parser import read_event
from pagefold.engine.reading.history import HistoryEntry
from pagefold.engine.reading.page_reader import ProductPage
from pagefold.engine.reading.status import Status
from pagefold.engine.replay.replayer import Refolded, SectionDrift
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
    "Refolded",
    "Refused",
    "SectionDrift",
    "Shop",
    "SourceFailed",
    "Status",
    "StoreError",
    "StoreMissing",
    "StoreTooNew",
    "StoreUnavailable",
    "open",
    "read_event",
]
