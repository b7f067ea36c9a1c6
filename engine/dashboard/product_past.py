"""A product's page as it was at a moment, beside the page as it is now."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from pagefold.domains import DOMAINS
from pagefold.engine.dashboard.product_channels import NOT_COMPARED
from pagefold.engine.reading.moments import At
from pagefold.engine.shop import Shop
from pagefold.projections.field_changes import FieldChange, changes_between, flatten

MAX_FIELDS = 1_000
"""Fields that are shown of a page as it was."""


class PastField(NamedTuple):
    """A field as it was, and whether it is different now."""

    path: str
    value: object
    differs: bool


class PastPage(NamedTuple):
    """The page at a moment, by domain; `page` is None where there was none, `has_channel` false without the channel."""

    at: At
    position: int
    page: dict[str, Any] | None
    has_channel: bool
    sections: list[tuple[str, list[PastField]]]
    changes: list[FieldChange]

    @property
    def moment(self) -> datetime | None:
        """The time that was asked for; None for a position."""
        return self.at if isinstance(self.at, datetime) else None


async def read_past(shop: Shop, sku: str, channel: str, at: At, now: Mapping[str, Any] | None) -> PastPage:
    """The page of a SKU at a moment, under the configuration that counted then, and what differs from it `now`."""
    view = await shop.past.view(at)
    found = await shop.past.get_many_json([sku], channel, view, disabled=True)
    page = orjson.loads(found[sku]) if sku in found else None
    before, after = _leaves(page), _leaves(now)
    sections = [
        (
            domain.name,
            [
                PastField(path.partition(".")[2] or path, before[path], before[path] != after.get(path))
                for path in sorted(before)
                if path.startswith(f"{domain.name}.")
            ][:MAX_FIELDS],
        )
        for domain in DOMAINS
    ]
    has_channel = channel in view.config.channels
    return PastPage(at, view.moment.position, page, has_channel, sections, changes_between(before, after))


def _leaves(page: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if page is None else flatten({name: value for name, value in page.items() if name not in NOT_COMPARED})
