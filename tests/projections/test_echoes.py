"""Which statements say no more than what their source was sent."""

from collections.abc import Mapping

import msgspec
import pytest

from pagefold.domains import DOMAINS, ChannelContext
from pagefold.domains.domain import Contribution, encode
from pagefold.projections.channel_views import View
from pagefold.projections.echoes import NULL, Receipt, Statement, is_echo, parse_receipt, receipt_of
from pagefold.projections.transforms import BUILTIN_REGISTRY

GERMAN, ENGLISH = ChannelContext(("de",), "EUR"), ChannelContext(("en",), "USD")
BY_NAME = {domain.name: domain for domain in DOMAINS}
Payload = Mapping[str, object]


def canonical(domain: str, payload: Payload | None) -> bytes:
    """A payload as it is stored."""
    if payload is None:
        return NULL
    found = BY_NAME[domain]
    return encode(found.validate(msgspec.convert(payload, found.payload)))


def sent(context: ChannelContext, domain: str, **payloads: Payload) -> Receipt:
    """The receipt of a page with one domain, to which these sources contribute, highest rank first."""
    found = BY_NAME[domain]
    decode = msgspec.json.Decoder(found.payload).decode
    contributions = [Contribution(name, decode(canonical(domain, each))) for name, each in payloads.items()]
    body = found.fold(contributions, context, None)
    assert body is not None
    page = {"sourceVersions": {f"{domain}/{name}": 3 for name in payloads}, domain: msgspec.json.decode(body.json)}
    receipt = parse_receipt(receipt_of(page, page, 10, "tag"))
    assert receipt is not None
    assert receipt.versions == page["sourceVersions"]
    return receipt


def echoes(
    domain: str, says: Payload | None, *sent_to: tuple[Receipt, ChannelContext], before: Payload | None = None
) -> bool:
    """Whether what a CRM says, after what it has said before, is an echo."""
    own = None if before is None else canonical(domain, before)
    return is_echo(Statement(domain, "crm", canonical(domain, says), own), sent_to)


NAMED = {
    "attributes": {"name": "Mug", "colour": "red"},
    "localized": {"text": {"de": "Becher", "en": "Mug"}},
    "family": "cups",
}
PRICED = {"currency": "EUR", "amount": "12.50", "tiers": [{"minQuantity": 3, "amount": "12"}]}
STOCK = {"available": 5}
PICTURES = {"assets": [{"url": "a.jpg", "alt": {"de": "vorn"}}, {"url": "b.jpg", "position": 2}]}


@pytest.mark.parametrize(
    ("domain", "shown", "says", "expected"),
    [
        ("catalog", NAMED, {"attributes": {"name": "Mug", "colour": "red", "text": "Becher"}, "family": "cups"}, True),
        ("catalog", NAMED, {"attributes": {"name": "Mug"}}, True),
        ("catalog", NAMED, {"localized": {"text": {"de": "Becher"}}}, True),
        ("catalog", NAMED, {"localized": {"text": {"de": "Becher", "en": "Mug"}}}, False),  # it was not sent in English
        ("catalog", NAMED, {"attributes": {"name": "Cup", "colour": "red"}}, False),
        ("catalog", NAMED, {"attributes": {"name": "Mug", "weight": 3}}, False),
        ("catalog", NAMED, {"attributes": {"name": "Mug"}, "references": {"crm:id": "7"}}, False),
        ("catalog", NAMED, {"attributes": {"name": "Mug"}, "enabled": False}, False),
        ("catalog", NAMED, {}, True),
        ("catalog", NAMED, None, False),
        ("pricing", PRICED, {"currency": "EUR", "amount": "12.5"}, True),
        ("pricing", PRICED, {"currency": "EUR", "amount": "12.51"}, False),
        ("pricing", PRICED, {"currency": "USD", "amount": "12.5"}, False),
        (
            "pricing",
            PRICED,
            {"currency": "EUR", "amount": "12.5", "tiers": [{"minQuantity": 4, "amount": "12"}]},
            False,
        ),
        ("inventory", STOCK, {"available": 5}, True),
        ("inventory", STOCK, {"available": 4}, False),
        ("inventory", STOCK, {"available": 7, "safetyStock": 2}, False),
        ("media", PICTURES, PICTURES, True),
        ("media", PICTURES, {"assets": [{"url": "b.jpg", "position": 2}]}, True),
        ("media", PICTURES, {"assets": [{"url": "b.jpg", "position": 1}]}, False),
        ("media", PICTURES, {"assets": [{"url": "c.jpg"}]}, False),
    ],
)
def test_what_is_sent_back(domain: str, shown: Payload, says: Payload | None, expected: bool) -> None:  # noqa: FBT001  # of the table
    """As it was sent, or a part of it, also in another spelling; anything else is a change."""
    assert echoes(domain, says, (sent(GERMAN, domain, pim=shown), GERMAN)) is expected


def test_what_it_has_said_before() -> None:
    """What no page shows of it may be repeated; what it leaves out was removed."""
    page = (sent(GERMAN, "catalog", pim=NAMED), GERMAN)
    own = {"attributes": {"name": "Mug"}, "references": {"crm:id": "7"}}
    assert echoes("catalog", own | {"family": "cups"}, page, before=own)
    assert not echoes("catalog", {"attributes": {"name": "Mug"}}, page, before=own)
    assert not echoes("catalog", own | {"references": {"crm:id": "8"}}, page, before=own)


def test_what_was_sent_otherwise_is_no_echo_although_it_was_said_before() -> None:
    """A person sets back what a delivery has overwritten, and changes something else with it."""
    page = (sent(GERMAN, "catalog", pim={"attributes": {"name": "Mug"}}, crm={"attributes": {"name": "Cup"}}), GERMAN)
    own = {"attributes": {"name": "Cup"}}
    assert not echoes("catalog", {"attributes": {"name": "Cup", "colour": "red"}}, page, before=own)


def test_its_own_statement_again() -> None:
    """A system that cannot hold what it is sent says the same after each delivery: that ends."""
    page = (sent(GERMAN, "catalog", pim={"attributes": {"name": "A long name"}}), GERMAN)
    cut = {"attributes": {"name": "A long"}}
    assert not echoes("catalog", cut, page)
    assert echoes("catalog", cut, page, before=cut)
    assert not echoes("catalog", cut, before=cut)


def test_stock_of_its_own() -> None:
    """A location says its own stock again, or the total that it was sent: neither is added a second time."""
    page = (sent(GERMAN, "inventory", wms={"available": 5}, crm={"available": 3}), GERMAN)
    assert echoes("inventory", {"available": 3}, page, before={"available": 3})
    assert echoes("inventory", {"available": 8}, page, before={"available": 3})
    assert not echoes("inventory", {"available": 2}, page, before={"available": 3})


def test_pictures_of_its_own() -> None:
    """All of them again, with those of others; one that it removes is a change."""
    page = (sent(GERMAN, "media", dam=PICTURES, crm={"assets": [{"url": "own.jpg"}]}), GERMAN)
    assets = [*PICTURES["assets"], {"url": "own.jpg"}]
    assert echoes("media", {"assets": assets}, page, before={"assets": [{"url": "own.jpg"}]})
    assert not echoes("media", PICTURES, page, before={"assets": [{"url": "own.jpg"}]})


def test_two_channels() -> None:
    """What one of them shows is enough, unless another one shows something else."""
    german, english = sent(GERMAN, "catalog", pim=NAMED), sent(ENGLISH, "catalog", pim=NAMED)
    both = (german, GERMAN), (english, ENGLISH)
    assert echoes("catalog", {"localized": {"text": {"de": "Becher", "en": "Mug"}}}, *both)
    assert not echoes("catalog", {"localized": {"text": {"de": "Becher", "en": "Cup"}}}, *both)
    assert not echoes("catalog", {"attributes": {"text": "Becher"}}, *both)
    prices = (sent(GERMAN, "pricing", erp=PRICED), GERMAN), (english, ENGLISH)
    assert echoes("pricing", PRICED, *prices)


def test_a_channel_under_its_own_names() -> None:
    """What its contract renames is recognised; what it leaves out is not, nor what is one value of several."""
    contract: dict[str, object] = {"name": "web", "attributes": {"title": "name", "brand": {"constant": "Nord"}}}
    context = ChannelContext(("de",), "EUR", View(contract, [], ["de"], BUILTIN_REGISTRY))
    page = (sent(context, "catalog", pim={"attributes": {"name": "Mug", "colour": "red"}}), context)
    assert echoes("catalog", {"attributes": {"name": "Mug"}}, page)
    assert not echoes("catalog", {"attributes": {"name": "Mug", "colour": "red"}}, page)
    assert not echoes("catalog", {"attributes": {"name": "Cup"}}, page)


@pytest.mark.parametrize(
    ("says", "expected"), [(None, True), ({"enabled": False}, True), ({"attributes": {"name": "Mug"}}, False)]
)
def test_a_withdrawal(says: Payload | None, expected: bool) -> None:  # noqa: FBT001  # of the table
    """That there is no page any more is an echo of a withdrawal."""
    receipt = parse_receipt(receipt_of(None, None, 10, ""))
    assert receipt is not None
    assert echoes("catalog", says, (receipt, GERMAN)) is expected
    assert not echoes("catalog", None, (receipt, GERMAN), (sent(GERMAN, "catalog", pim=NAMED), GERMAN))


def test_only_the_fields_that_it_was_sent() -> None:
    """What a target does not get proves nothing."""
    page = {"sourceVersions": {}, "catalog": {"attributes": {"name": "Mug", "colour": "red"}}}
    receipt = parse_receipt(receipt_of(page, {"catalog": {"attributes": {"name": "Mug"}}}, 10, "tag"))
    assert receipt is not None
    assert echoes("catalog", {"attributes": {"name": "Mug"}}, (receipt, GERMAN))
    assert not echoes("catalog", {"attributes": {"name": "Mug", "colour": "red"}}, (receipt, GERMAN))


def test_a_receipt_of_another_version_is_none() -> None:
    """It makes no echo."""
    assert parse_receipt(b"\xc1") is None
    assert parse_receipt(None) is None
