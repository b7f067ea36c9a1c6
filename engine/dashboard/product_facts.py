"""What the head of a product's screen says, read from its page."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class ScheduledAmount(NamedTuple):
    """A price of a time span, whose ends are timestamps; None for an open one."""

    amount: str
    begin: str | None
    end: str | None


class PageFacts(NamedTuple):
    """A product's name, the product that it is a variant of, its completeness, and its price."""

    name: str = ""
    parent: str = ""
    percent: int | None = None
    missing: Sequence[str] = ()
    currency: str = ""
    amount: str = ""
    scheduled: Sequence[ScheduledAmount] = ()


def facts_of(page: Mapping[str, Any] | None) -> PageFacts:
    """The facts of a page; of none if there is none."""
    if page is None:
        return PageFacts()
    catalog, pricing = page.get("catalog") or {}, page.get("pricing") or {}
    name = (catalog.get("attributes") or {}).get("name")
    complete = catalog.get("completeness") or {}
    return PageFacts(
        name=name if isinstance(name, str) else "",
        parent=catalog.get("parent") or "",
        percent=complete.get("percent"),
        missing=complete.get("missing") or [],
        currency=pricing.get("currency") or "",
        amount=pricing.get("amount") or "",
        scheduled=[
            ScheduledAmount(each["amount"], each.get("from"), each.get("until"))
            for each in pricing.get("scheduled") or ()
        ],
    )
