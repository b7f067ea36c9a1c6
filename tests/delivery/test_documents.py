"""What a target gets of a page."""

import orjson
import pytest

from pagefold.engine.configuration.target_config import TargetConfig
from pagefold.engine.delivery.documents import NOTHING, document_identity, document_maker, idempotency_key
from pagefold.engine.delivery.target_kind import PageKey
from pagefold.engine.reading.page_tags import tag_of

PAGE: dict[str, object] = {
    "sku": "A",
    "channel": "web-de",
    "status": "live",
    "ready": True,
    "catalog": {"attributes": {"name": "Chair", "size.eu": 42, "colour": None}, "categories": ["c"]},
    "pricing": {"amount": "1.00", "currency": "EUR"},
    "inventory": None,
}


def body(**changes: object) -> bytes:
    """A page as it is served."""
    return orjson.dumps(PAGE | changes)


def test_the_whole_page() -> None:
    """Its own bytes, and its own tag."""
    make = document_maker(TargetConfig())
    assert make(body()) == (body(), tag_of(body()), body())
    assert make(None) == NOTHING


def test_only_ready_pages() -> None:
    """One that is not ready is a withdrawal."""
    make = document_maker(TargetConfig(ready=True, fields=["pricing.amount"]))
    assert make(body(ready=False)) == NOTHING
    assert make(None) == NOTHING
    assert make(body()).body is not None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["pricing.amount"], {"pricing": {"amount": "1.00"}}),
        (["pricing"], {"pricing": {"amount": "1.00", "currency": "EUR"}}),
        (["catalog.attributes.size.eu"], {"catalog": {"attributes": {"size.eu": 42}}}),
        (["catalog.attributes.colour", "inventory"], {"catalog": {"attributes": {"colour": None}}, "inventory": None}),
        (["catalog.attributes.weight", "inventory.available", "media"], {}),
        (
            ["catalog.categories", "catalog.attributes.name"],
            {"catalog": {"attributes": {"name": "Chair"}, "categories": ["c"]}},
        ),
    ],
)
def test_parts_of_a_page(fields: list[str], expected: dict[str, object]) -> None:
    """At the same places; what the page does not have is left out. SKU and channel are always there."""
    made = document_maker(TargetConfig(fields=fields))(body())
    assert made.body is not None
    assert orjson.loads(made.body) == {"sku": "A", "channel": "web-de"} | expected


def test_other_changes_are_none() -> None:
    """What the target does not get has no effect on the tag."""
    make = document_maker(TargetConfig(fields=["pricing.amount"]))
    assert make(body())[:2] == make(body(updatedAt="now", catalog={}))[:2]
    assert make(body()).tag != make(body(pricing={"amount": "2.00"})).tag


def test_idempotency_keys() -> None:
    """The same for each attempt; another one for another document, page, target, or for the same document later."""
    page = PageKey("A", "web-de")
    key = idempotency_key("x", page, "t", 5)
    assert key == idempotency_key("x", page, "t", 5)
    others = [
        idempotency_key("y", page, "t", 5),
        idempotency_key("x", PageKey("B", "web-de"), "t", 5),
        idempotency_key("x", page, "u", 5),
        idempotency_key("x", page, "t", 9),
    ]
    assert len({key, *others}) == 5


def test_a_target_with_other_documents_is_another_one() -> None:
    """Limits and addresses do not count."""
    target = TargetConfig(fields=["pricing"])
    assert document_identity(target) == document_identity(TargetConfig(fields=["pricing"], rate=5.0))
    for other in (TargetConfig(), TargetConfig(fields=["pricing"], ready=True), TargetConfig(fields=["media"])):
        assert document_identity(target) != document_identity(other)
