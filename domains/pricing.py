"""Pricing: what a product costs in a channel, as the first source that has a price for it says."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Annotated

import msgspec

from pagefold.domains.amounts import are_plain, is_free, plain_amount
from pagefold.domains.domain import ChannelContext, Contribution, Domain, InvalidPayload, Rules, SectionBody, encode
from pagefold.domains.values import Timestamp, check_currency, to_utc


class Tier(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, rename="camel"):
    """The price of one piece when at least `min_quantity` are bought."""

    min_quantity: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
    amount: str


class Scheduled(
    msgspec.Struct,
    frozen=True,
    gc=False,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"from_": "from"},
):
    """A price for a time: `from` inclusive, `until` exclusive, either of them open when absent."""

    amount: str
    from_: Timestamp | None = None
    until: Timestamp | None = None


class Pricing(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"
):
    """What a source may state. Amounts are decimal strings in `currency`."""

    currency: str
    amount: str
    compare_at: str | None = None
    tax_included: bool | None = None
    tax_class: str | None = None
    tiers: list[Tier] = []
    customer_groups: dict[str, str] = {}
    scheduled: list[Scheduled] = []


def admit(payload: Pricing) -> Pricing:
    """Amounts and moments have one form, the currency is a code, a schedule ends after it begins."""
    check_currency("currency", payload.currency)
    amounts = [payload.amount, *payload.customer_groups.values(), *[tier.amount for tier in payload.tiers]]
    if payload.compare_at is not None:
        amounts.append(payload.compare_at)
    if payload.scheduled:
        amounts += [each.amount for each in payload.scheduled]
    if not are_plain(payload.currency, amounts):
        payload = _with_plain_amounts(payload)
    if not payload.scheduled:
        return payload
    scheduled = [_admit_scheduled(f"scheduled[{index}]", item) for index, item in enumerate(payload.scheduled)]
    return msgspec.structs.replace(payload, scheduled=scheduled)


def _with_plain_amounts(payload: Pricing) -> Pricing:
    """Each by its name, which it takes long to write, and which nobody asks for while all are well."""
    plain = partial(plain_amount, payload.currency)
    replace = msgspec.structs.replace
    return replace(
        payload,
        amount=plain("amount", payload.amount),
        compare_at=None if payload.compare_at is None else plain("compareAt", payload.compare_at),
        tiers=[
            replace(tier, amount=plain(f"tiers[{index}].amount", tier.amount))
            for index, tier in enumerate(payload.tiers)
        ],
        customer_groups={
            group: plain(f"customerGroups.{group}", amount) for group, amount in payload.customer_groups.items()
        },
        scheduled=[
            replace(each, amount=plain(f"scheduled[{index}].amount", each.amount))
            for index, each in enumerate(payload.scheduled)
        ],
    )


def _admit_scheduled(path: str, scheduled: Scheduled) -> Scheduled:
    begin: datetime | None = to_utc(f"{path}.from", scheduled.from_)
    end: datetime | None = to_utc(f"{path}.until", scheduled.until)
    if begin is not None and end is not None and begin >= end:
        raise InvalidPayload(f"{path}.until", "must be later than `from`")
    return Scheduled(scheduled.amount, begin, end)


def violates(payload: Pricing, rules: Rules) -> InvalidPayload | None:
    """A price of zero, where free is none. What is crossed out (`compareAt`) is no price that anybody pays."""
    if rules.zero_price:
        return None
    prices = {"amount": payload.amount}
    prices |= {f"tiers[{index}].amount": tier.amount for index, tier in enumerate(payload.tiers)}
    prices |= {f"customerGroups.{group}": amount for group, amount in payload.customer_groups.items()}
    prices |= {f"scheduled[{index}].amount": each.amount for index, each in enumerate(payload.scheduled)}
    free = next((path for path, amount in prices.items() if is_free(amount)), None)
    reason = 'is zero, which is no price of this source; zero_price = "accept" in the configuration makes it one'
    return None if free is None else InvalidPayload(free, reason)


def fits(payload: Pricing, view: ChannelContext) -> InvalidPayload | None:
    """A price is for the channels of its currency."""
    if payload.currency == view.currency:
        return None
    return InvalidPayload("currency", f"the price is in {payload.currency}, the channel's currency is {view.currency}")


def fold(contributions: Sequence[Contribution[Pricing]], _view: ChannelContext) -> SectionBody | None:
    """The payload of the first source, as it stands."""
    return SectionBody(encode(contributions[0].payload))


PRICING = Domain(name="pricing", payload=Pricing, admit=admit, fits=fits, violates=violates, fold=fold)
