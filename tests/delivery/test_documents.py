"""What a target gets of a page."""

import orjson
import pytest

from pagefold import Config
from pagefold.engine.configuration.target_config import TargetConfig
from pagefold.engine.delivery.documents import NOTHING, Document, document_identity, document_maker, idempotency_key
from pagefold.engine.delivery.marker import marking_of
from pagefold.engine.delivery.target_kind import PageKey
from pagefold.engine.errors import ConfigurationError
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


CONTRACT = {
    "name": "market",
    "version": 3,
    "unmapped": "fail",
    "attributes": {"title": "name", "shade": {"from": "colour", "lookup": "shades"}},
    "tables": {"shades": {"rows": {"red": "R1"}}},
    "examples": [{"in": {"attributes": {"name": "Mug"}}, "out": {"attributes": {"title": "Mug"}}}],
}
CUPS = {"cups": {"only": {"@family": ["cups"], "@categories": ["Kitchen"], "name": True}}}


def configured_with(**target: object) -> TargetConfig:
    """A target of the channels web-de, and web-at with families, as a configuration has it."""
    cups = {"families": {"mugs": "cups", "big-mugs": "mugs"}, "requires": []}
    channels = {
        "web-de": {"locale": "de-DE", "currency": "EUR"},
        "web-at": {"locale": "de-AT", "currency": "EUR", "requirements": [cups]},
        "own": {"locale": "de-AT", "currency": "EUR", "contract": {"attributes": {"label": "name"}}},
    }
    tables = {"store": {"url": "sqlite:///nowhere"}, "sources": {"pim": {"domains": ["catalog"]}}, "channels": channels}
    given = {"channels": ["web-de", "web-at"], "files": {"folder": "out"}, **target}
    given = {name: value for name, value in given.items() if value is not None}
    return Config.parse({**tables, "targets": {"market": given}}).targets["market"]


def catalog(**fields: object) -> bytes:
    """A page with this catalog, whose name is Mug."""
    attributes = {"name": "Mug", **fields.pop("attributes", {})}  # type: ignore[dict-item]  # a table
    shown = {"attributes": attributes, "categories": [], "family": None} | fields
    return body(readiness={"catalog": True}, catalog=shown)


def decoded(document: Document) -> dict[str, object]:
    """What a target gets."""
    assert document.body is not None
    assert document.tag == tag_of(document.body)
    found: dict[str, object] = orjson.loads(document.body)
    return found


@pytest.mark.parametrize(
    ("fields", "passes"),
    [
        ({"family": "cups", "categories": ["Kitchen > Cups"]}, True),
        ({"family": "big-mugs", "categories": [["Kitchen", "Cups"]]}, True),
        ({"family": "chairs", "categories": ["Kitchen"]}, False),
        ({"family": "cups", "categories": ["Garden"]}, False),
        ({"family": "cups", "categories": ["Kitchen"], "attributes": {"name": ""}}, False),
    ],
)
def test_a_filter(fields: dict[str, object], passes: bool) -> None:  # noqa: FBT001  # of the table
    """Of the same rules as that of a channel: families and categories with all below them. The page itself is sent."""
    make = document_maker(configured_with(filters=CUPS))
    page = catalog(**fields)
    assert make(page)[:2] == ((page, tag_of(page)) if passes else NOTHING[:2])
    assert make(body(catalog=None)) == make(None) == NOTHING


def test_a_contract() -> None:
    """The catalog is under its names; the rest of the page is as it is. Paths of fields are those of the contract."""
    make = document_maker(configured_with(contract=CONTRACT))
    found = decoded(make(catalog(attributes={"colour": "red", "weight": 3}, breadcrumb=["Kitchen"])))
    assert found["catalog"] == {
        "attributes": {"title": "Mug", "shade": "R1"},
        "categories": [],
        "family": None,
        "parent": None,
        "contract": "market@3",
        "breadcrumb": ["Kitchen"],
    }
    assert (found["pricing"], found["ready"]) == (PAGE["pricing"], True)
    part = document_maker(configured_with(contract=CONTRACT, fields=["catalog.attributes.title"]))
    assert decoded(part(catalog()))["catalog"] == {"attributes": {"title": "Mug"}}
    assert decoded(make(body(catalog=None)))["catalog"] is None


@pytest.mark.parametrize(
    ("unmapped", "lists", "ready"), [("skip", False, True), ("warn", True, True), ("fail", True, False)]
)
def test_what_a_contract_cannot_map(unmapped: str, lists: bool, ready: bool) -> None:  # noqa: FBT001  # of the table
    """It is left out; as in a channel, it may be listed, and may make the page unready, which a target may not want."""
    page = catalog(attributes={"colour": "pink"})
    found = decoded(document_maker(configured_with(contract=CONTRACT | {"unmapped": unmapped}))(page))
    assert found["catalog"]["attributes"] == {"title": "Mug"}  # type: ignore[index]  # it is a table
    assert ("unmapped" in found["catalog"], found["ready"]) == (lists, ready)  # type: ignore[operator]  # likewise
    assert found["readiness"] == {"catalog": ready}
    only_ready = document_maker(configured_with(contract=CONTRACT | {"unmapped": unmapped}, ready=True))
    assert (only_ready(page).body is not None) == ready


def test_a_contract_in_the_language_of_each_channel() -> None:
    """Texts by locale are looked up for the page's channel."""
    texts = {"red": {"de-DE": "rot", "de-AT": "ruat"}}
    contract = {"attributes": {"c": {"from": "colour", "translate": "t"}}, "tables": {"t": {"rows": texts}}}
    make = document_maker(configured_with(contract=contract))
    for channel, text in (("web-de", "rot"), ("web-at", "ruat")):
        page = orjson.dumps(orjson.loads(catalog(attributes={"colour": "red"})) | {"channel": channel})
        assert decoded(make(page))["catalog"]["attributes"] == {"c": text}  # type: ignore[index]  # it is a table


def test_another_filter_or_contract_is_another_document() -> None:
    """So every page is compared again."""
    plain, filtered = configured_with(), configured_with(filters=CUPS)
    renamed = configured_with(contract=CONTRACT)
    changed = configured_with(contract=CONTRACT | {"version": 4})
    assert len({document_identity(each) for each in (plain, filtered, renamed, changed)}) == 4
    assert [marking_of(each).needs_pages for each in (plain, filtered, renamed)] == [False, True, True]


BRAND = {"f": {"only": {"@brand": ["x"]}}}
FAILING = CONTRACT | {"examples": [{"in": {}, "out": {"attributes": {"x": 1}}}]}
ITEMS = {"url": "https://h", "path": "/p/{sku}"}
REDIS = {"url": "redis://h/0", "key": "{sku}"}


@pytest.mark.parametrize(
    ("changes", "key", "problem"),
    [
        (
            {"filters": BRAND},
            "targets.market.filters.f.only.@brand",
            "there is no '@brand'",
        ),
        ({"filters": {"f": {}}}, "targets.market.filters.f", "has no condition"),
        ({"contract": {"attributes": {"a": {"from": "b", "nothing": 1}}}}, "targets.market.contract", "attributes.a"),
        ({"contract": CONTRACT, "channels": ["own"]}, "targets.market.contract", "the channel 'own' has a contract"),
        (
            {"contract": FAILING},
            "targets.market.contract",
            "examples[0]",
        ),
        ({"contract": "none.toml"}, "", "none.toml"),
        (
            {"files": None, "redis": REDIS},
            "targets.market.redis.key",
            "needs {channel}",
        ),
        (
            {"files": None, "typesense": {"url": "https://h", "index": "p", "id": "{sku}"}},
            "targets.market.typesense.id",
            "needs {channel} in `index` or `id`",
        ),
        (
            {"files": None, "http": ITEMS},
            "targets.market.http.path",
            "needs {channel}",
        ),
        (
            {"files": None, "nats": {"servers": ["nats://h"], "subject": "p.{sku}"}},
            "targets.market.nats.subject",
            "needs {channel}",
        ),
        ({"source": "crm"}, "targets.market.source", "unknown source 'crm'"),
    ],
)
def test_what_is_refused(changes: dict[str, object], key: str, problem: str) -> None:
    """When the configuration is read, by the key."""
    with pytest.raises(ConfigurationError) as found:
        configured_with(**changes)
    assert (found.value.key or "").startswith(key)
    assert problem in found.value.problem + str(found.value)


def test_one_channel_needs_no_channel_in_its_addresses() -> None:
    """Its pages have a SKU each."""
    configured_with(channels=["web-de"], files=None, redis={"url": "redis://h/0", "key": "{sku}"})
