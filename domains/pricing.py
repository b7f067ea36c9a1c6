"""Pricing: what a product costs in a channel, according to the first source that has a price for it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated

import msgspec

from pagefold.domains.amounts import Amount, are_canonical, canonical_amount, is_zero
from pagefold.domains.domain import (
    ChannelContext,
    Contribution,
    Domain,
    InvalidPayload,
    Rules,
    Said,
    SectionBody,
    encode,
    fields_of,
    says_fields,
)
from pagefold.domains.fold_trace import FoldTrace, Given, Path
from pagefold.domains.values import Timestamp, check_currency, to_utc


class Tier(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, rename="camel"):
    """The price of one piece when at least `min_quantity` are bought."""

    min_quantity: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
    """The quantity from which the price holds."""

    amount: Amount
    """The price of one piece."""


class Scheduled(
    msgspec.Struct,
    frozen=True,
    gc=False,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"from_": "from"},
):
    """A price for a period: `from` inclusive, `until` exclusive; either may be absent."""

    amount: Amount
    """The price in that time."""

    from_: Timestamp | None = None
    """The beginning, inclusive; without it, since ever."""

    until: Timestamp | None = None
    """The end, exclusive, later than `from`; without it, for ever."""


class Pricing(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"
):
    """A source's pricing payload. Amounts are decimal strings in `currency`."""

    currency: str
    """An ISO 4217 code in capitals. The price counts in the channels of this currency."""

    amount: Amount
    """The price: a decimal string with up to 15 digits and 6 decimals, never negative."""

    compare_at: Amount | None = None
    """The price to show crossed out."""

    tax_included: bool | None = None
    """Whether tax is included in the amounts."""

    tax_class: str | None = None
    """The source's tax class."""

    tiers: list[Tier] = []
    """Prices by quantity."""

    customer_groups: dict[str, Amount] = {}
    """Prices by customer group."""

    scheduled: list[Scheduled] = []
    """Prices for a period."""


def validate(payload: Pricing) -> Pricing:
    """Checks the currency and the schedules; brings amounts and timestamps into canonical form."""
    check_currency("currency", payload.currency)
    amounts = [payload.amount, *payload.customer_groups.values(), *[tier.amount for tier in payload.tiers]]
    if payload.compare_at is not None:
        amounts.append(payload.compare_at)
    if payload.scheduled:
        amounts += [each.amount for each in payload.scheduled]
    if not are_canonical(payload.currency, amounts):
        payload = _with_canonical_amounts(payload)
    if not payload.scheduled:
        return payload
    scheduled = [_validate_scheduled(f"scheduled[{index}]", item) for index, item in enumerate(payload.scheduled)]
    return msgspec.structs.replace(payload, scheduled=scheduled)


def _with_canonical_amounts(payload: Pricing) -> Pricing:
    """Converts each amount by its path, for errors. Slow, and needed only if an amount is not canonical."""
    canonical = partial(canonical_amount, payload.currency)
    replace = msgspec.structs.replace
    return replace(
        payload,
        amount=canonical("amount", payload.amount),
        compare_at=None if payload.compare_at is None else canonical("compareAt", payload.compare_at),
        tiers=[
            replace(tier, amount=canonical(f"tiers[{index}].amount", tier.amount))
            for index, tier in enumerate(payload.tiers)
        ],
        customer_groups={
            group: canonical(f"customerGroups.{group}", amount) for group, amount in payload.customer_groups.items()
        },
        scheduled=[
            replace(each, amount=canonical(f"scheduled[{index}].amount", each.amount))
            for index, each in enumerate(payload.scheduled)
        ],
    )


def _validate_scheduled(path: str, scheduled: Scheduled) -> Scheduled:
    begin: datetime | None = to_utc(f"{path}.from", scheduled.from_)
    end: datetime | None = to_utc(f"{path}.until", scheduled.until)
    if begin is not None and end is not None and begin >= end:
        raise InvalidPayload(f"{path}.until", "must be later than `from`")
    return Scheduled(scheduled.amount, begin, end)


def violates(payload: Pricing, rules: Rules) -> InvalidPayload | None:
    """Rejects prices of zero if the source must not send them. `compareAt` is crossed out, so it may be zero."""
    if rules.zero_price:
        return None
    prices = {"amount": payload.amount}
    prices |= {f"tiers[{index}].amount": tier.amount for index, tier in enumerate(payload.tiers)}
    prices |= {f"customerGroups.{group}": amount for group, amount in payload.customer_groups.items()}
    prices |= {f"scheduled[{index}].amount": each.amount for index, each in enumerate(payload.scheduled)}
    free = next((path for path, amount in prices.items() if is_zero(amount)), None)
    reason = (
        'is zero, and this source must not send free prices; zero_price = "accept" in its configuration allows them'
    )
    return None if free is None else InvalidPayload(free, reason)


def channel_mismatch(payload: Pricing, context: ChannelContext) -> InvalidPayload | None:
    """A price is used in channels of its currency only."""
    if payload.currency == context.currency:
        return None
    return InvalidPayload(
        "currency", f"the price is in {payload.currency}, the channel's currency is {context.currency}"
    )


def fold(
    contributions: Sequence[Contribution[Pricing]], _context: ChannelContext, trace: FoldTrace | None = None
) -> SectionBody | None:
    """Takes the payload of the first source unchanged. Ready if there is one."""
    if trace is not None:
        _explain(contributions, trace)
    return SectionBody(encode(contributions[0].payload))


def _explain(contributions: Sequence[Contribution[Pricing]], trace: FoldTrace) -> None:
    first, *others = contributions
    for field, value in fields_of(first.payload).items():
        trace.take((field,), Given(first.source, (field,), value))
    for other in others:
        for field, value in fields_of(other.payload).items():
            trace.pass_over((field,), Given(other.source, (field,), value), "lower-rank")


def says(payload: Pricing, context: ChannelContext, source: str) -> Mapping[Path, Said]:
    """Its fields; the currency is the channel's. A channel of another currency shows nothing of it."""
    said = says_fields(payload, context, source)
    del said["currency",]
    if payload.currency != context.currency:
        return {path: Said(value) for path, (value, _) in said.items()}
    return said


PRICING = Domain(
    name="pricing",
    payload=Pricing,
    validate=validate,
    channel_mismatch=channel_mismatch,
    violates=violates,
    fold=fold,
    says=says,
)
