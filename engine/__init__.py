"""Pagefold: ready-made product pages, folded from every change that a commerce platform's systems report.

    async with engine.open("pagefold.toml") as shop:
        results = await shop.append(events)
        await shop.catch_up()
        body = await shop.pages.get_json("TSHIRT-M", "web-de")

What is named here is the public surface; everything else may change.
"""

from engine.config import Config
from engine.door import read_event
from engine.errors import (
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
from engine.events import AppendResult, DomainEvent
from engine.history import FieldChange, HistoryEntry
from engine.reading import ProductPage
from engine.refolding import Refolded, SectionDrift
from engine.shop import Shop, open  # noqa: A004  # `engine.open` is the name that reads well where it is used
from engine.status import Status

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
