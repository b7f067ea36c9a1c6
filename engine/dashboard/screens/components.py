"""Every piece that screens are made of, in all its states: for authors of screens, and for tests."""

from datetime import UTC, datetime
from typing import get_args

from starlette.responses import Response

from pagefold.engine.configuration.shop_config import ShopIdentity
from pagefold.engine.dashboard.addresses import href
from pagefold.engine.dashboard.charts import sparkline
from pagefold.engine.dashboard.screen import Screen, State, shown_at
from pagefold.engine.dashboard.visit import Toast, Visit
from pagefold.projections.field_changes import FieldChange

FOLDS = (
    ("all ready", ("ready", "ready", "ready", "ready")),
    ("catalog not ready", ("not ready", "ready", "ready", "ready")),
    ("inventory not ready, media not required", ("ready", "ready", "not ready", "not required")),
)
SHOPS = (
    ShopIdentity("Halm & Faden", "production", None, is_named=True),
    ShopIdentity("Halm & Faden", "staging", None, is_named=True),
    ShopIdentity("halm-faden", None, None, is_named=False),
)
DOMAINS = ("catalog", "pricing", "inventory", "media")
CHANGES = [
    FieldChange("pricing.amount", "89.80", "88.26"),
    FieldChange("catalog.attributes.claim", None, "Pour les longues soirées."),
    FieldChange("inventory.available", 11_702, None),
]


async def show(visit: Visit) -> Response:
    """One panel for each component."""
    rising = [min(max(index - 100, 0) * 120.0, 4_812.0) for index in range(144)]
    return await visit.page(
        "components_page",
        states=get_args(State),
        shops=SHOPS,
        folds=[(words, list(zip(DOMAINS, states, strict=True))) for words, states in FOLDS],
        changes=CHANGES,
        moment=datetime(2026, 3, 12, 14, 32, 8, tzinfo=UTC),
        line=sparkline([0.2] * 144, 1.0),
        crossed=sparkline(rising, 1_000),
        toast=Toast("811 letters were taken, 1 was not.", [("See the one", href())]),
    )


SCREEN = Screen("components", "Components", "n-page", None, [shown_at("/ui/components", show)])
