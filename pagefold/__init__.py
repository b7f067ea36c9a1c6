"""Pagefold: ready-made product pages, folded from every change that a commerce platform's systems report.

    async with pagefold.open("pagefold.toml") as shop:
        results = await shop.append(events)
        await shop.catch_up()
        body = await shop.pages.get_json("TSHIRT-M", "web-de")

The names in `__all__`, and `open`, are the public surface; everything else may change. `from pagefold import *` brings
`open_shop`, the same function as `pagefold.open`, so that it shadows no builtin.
"""

from pagefold.domains.payloads import (
    AssetPayload,
    CatalogPayload,
    InventoryPayload,
    MediaPayload,
    PricingPayload,
    ScheduledPayload,
    TierPayload,
)
from pagefold.domains.sections import (
    CatalogSection,
    InventoryLocation,
    InventorySection,
    MediaAsset,
    MediaSection,
    PageDocument,
    PageSections,
    PriceTier,
    PricingSection,
    ProductCompleteness,
    ScheduledPrice,
)
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import (
    AddressUnavailable,
    AlreadyRecorded,
    BackupError,
    ConfigurationError,
    CountChanged,
    DeadLetterResolved,
    ExtraMissing,
    InvalidEpochRequest,
    InvalidRelease,
    InvalidTokenRequest,
    LeaseLost,
    LogReplaced,
    Overloaded,
    PagefoldError,
    PagesUnfolded,
    PagesWouldGo,
    PlanDecided,
    PlanOutdated,
    ReadTooLarge,
    RebuildInProgress,
    RecoveryUnderWay,
    Rejected,
    RowsOutOfOrder,
    RunNotResumable,
    RunStateError,
    RunTakenOver,
    SourceFailed,
    SourceIncomplete,
    SpillFailed,
    StoreDamaged,
    StoreError,
    StoreNotFound,
    StoreReadOnly,
    StoreTooNew,
    StoreUnavailable,
    StoreUnusable,
    SyncInProgress,
    TableUnavailable,
    UnknownCursor,
    UnknownDeadLetter,
    UnknownPlan,
    UnknownRun,
    UnknownToken,
    UnreadablePlan,
    WorkersStopped,
)
from pagefold.engine.events import AppendResult, DomainEvent
from pagefold.engine.http.mounted_application import MountedApplication, asgi
from pagefold.engine.intake.event_parser import parse_event
from pagefold.engine.plans.saved_plan import SavedPlan
from pagefold.engine.reading.check_results import CheckResult
from pagefold.engine.reading.health import Health
from pagefold.engine.reading.history import HistoryEntry
from pagefold.engine.reading.page_reader import ProductPage
from pagefold.engine.reading.status import Status
from pagefold.engine.replay.replayer import ReplayResult, SectionDrift
from pagefold.engine.shop import Shop, open_shop
from pagefold.projections.field_changes import FieldChange

open = open_shop  # noqa: A001  # `pagefold.open` is the name that reads well where it is used

__all__ = [
    "AddressUnavailable",
    "AlreadyRecorded",
    "AppendResult",
    "AssetPayload",
    "BackupError",
    "CatalogPayload",
    "CatalogSection",
    "CheckResult",
    "Config",
    "ConfigurationError",
    "CountChanged",
    "DeadLetterResolved",
    "DomainEvent",
    "ExtraMissing",
    "FieldChange",
    "Health",
    "HistoryEntry",
    "InvalidEpochRequest",
    "InvalidRelease",
    "InvalidTokenRequest",
    "InventoryLocation",
    "InventoryPayload",
    "InventorySection",
    "LeaseLost",
    "LogReplaced",
    "MediaAsset",
    "MediaPayload",
    "MediaSection",
    "MountedApplication",
    "Overloaded",
    "PageDocument",
    "PageSections",
    "PagefoldError",
    "PagesUnfolded",
    "PagesWouldGo",
    "PlanDecided",
    "PlanOutdated",
    "PriceTier",
    "PricingPayload",
    "PricingSection",
    "ProductCompleteness",
    "ProductPage",
    "ReadTooLarge",
    "RebuildInProgress",
    "RecoveryUnderWay",
    "Rejected",
    "ReplayResult",
    "RowsOutOfOrder",
    "RunNotResumable",
    "RunStateError",
    "RunTakenOver",
    "SavedPlan",
    "ScheduledPayload",
    "ScheduledPrice",
    "SectionDrift",
    "Shop",
    "SourceFailed",
    "SourceIncomplete",
    "SpillFailed",
    "Status",
    "StoreDamaged",
    "StoreError",
    "StoreNotFound",
    "StoreReadOnly",
    "StoreTooNew",
    "StoreUnavailable",
    "StoreUnusable",
    "SyncInProgress",
    "TableUnavailable",
    "TierPayload",
    "UnknownCursor",
    "UnknownDeadLetter",
    "UnknownPlan",
    "UnknownRun",
    "UnknownToken",
    "UnreadablePlan",
    "WorkersStopped",
    "asgi",
    "open_shop",
    "parse_event",
]
