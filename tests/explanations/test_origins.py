"""That `why` ends in the page's own bytes, and that each value is from where it says."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import orjson
from anyio.from_thread import start_blocking_portal
from hypothesis import Phase, given, settings

import pagefold
from pagefold import Config, DomainEvent, Shop
from pagefold.domains.domain import encode
from pagefold.engine.explanations.explanation import ExplainedSection, ExplainedValue, Input, PageExplanation, Reason
from pagefold.projections.explanations import REASONS, leaves
from tests.support.small_shop import CHANNELS, Document, document
from tests.support.strategies import histories

SKUS = ("A", "A/1", "B")
PARENTS = ("A", "B", "B", "A", "nobody", "A/1")
CONTRACT: Document = {
    "name": "web",
    "version": 3,
    "others": "keep",
    "tables": {"sizes": {"rows": {"S": "small"}}},
    "attributes": {
        "heading": "title",
        "label": {"from": "size", "lookup": "sizes"},
        "kind": "@family",
        "maker": {"constant": "Pagefold"},
    },
}
REQUIRED: Document = {
    "name": "basic",
    "requires": [
        {"attributes": ["name"], "locale": "channel"},
        {"attributes": ["size"], "check": {"max_length": 3}, "severity": "warns"},
        {"any_of": ["title", ["heading", "kind"]]},
        {"fields": ["categories"]},
    ],
}
NAMED: Document = {"name": "named", "requires": [{"attributes": ["name"]}]}
EMPTY: Document = {
    "catalog": {"attributes": {}, "categories": [], "family": None, "parent": None, "breadcrumb": []},
    "pricing": {},
    "inventory": {"locations": []},
    "media": {"assets": []},
}
NOTHING: tuple[object, ...] = (None, [], {})
Path = tuple[str | int, ...]


def explaining(url: str) -> Config:
    """The small shop with what channels may say: contracts, requirements, filters, a tree, all three policies."""
    tables = document(url, work={"poll_seconds": 0.05})
    tables["channels"]["web-us"] |= {"contract": CONTRACT | {"others": "drop"}}
    tables["channels"]["market-at"] |= {"contract": CONTRACT, "requirements": [REQUIRED], "tree": "shop"}
    tables["channels"]["web-de"] |= {"requirements": [NAMED], "incomplete": "keep"}
    tables["channels"]["web-de"]["filters"] = {"no-size-l": {"without": {"size": ["L"]}}}
    tables["trees"] = {"shop": {"rows": {"a": {}, "b": {"parent": "a", "text": {"de": "Hemden"}}}}}
    tables["channels"]["outlet-de"] |= {"requirements": [REQUIRED], "incomplete": "hide"}
    tables["sources"]["pim"]["inherit"] = {"own": ["title"]}
    return Config.parse(tables, store=url)


def test_every_value_has_one_origin_and_they_make_the_page(store_url: str) -> None:
    """Any events, in four domains and four channels: the values make the stored bytes, the events have the values."""
    number = 0

    @settings(max_examples=15, phases=[Phase.generate])  # to shrink a failure would take minutes
    @given(histories(SKUS, largest=14))
    def check(history: list[DomainEvent]) -> None:
        nonlocal number
        number += 1
        events = [_renamed(each, f"{number}-{each.sku}") for each in history]
        portal.call(_check, shop, events)

    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(pagefold.open(explaining(store_url))) as shop,
    ):
        check()


def _renamed(event: DomainEvent, sku: str) -> DomainEvent:
    """The event about another SKU, with parents among the SKUs that there are."""
    fields = {name: getattr(event, name) for name in DomainEvent.__struct_fields__}
    payload = event.payload
    if isinstance(payload, Mapping) and isinstance(parent := payload.get("parent"), str):
        payload = {**payload, "parent": sku.removesuffix(event.sku) + PARENTS[len(parent)]}
    return DomainEvent(**fields | {"sku": sku, "payload": payload})


async def _check(shop: Shop, events: Sequence[DomainEvent]) -> None:
    half = len(events) // 2
    await shop.append(events[:half])
    await shop.catch_up()
    await shop.append(events[half:])
    skus = sorted({event.sku for event in events})
    pages = {(sku, channel): await shop.why(sku, channel) for sku in skus for channel in CHANNELS}
    for page in pages.values():
        assert {section.stored for section in page.sections} <= {"same", "not-folded"}
    await shop.catch_up()
    for (sku, channel), before in pages.items():
        page = await shop.why(sku, channel)
        stored = await shop.pages.get_json(sku, channel, disabled=True)
        await _check_page(shop, page, None if stored is None else orjson.loads(stored))
        assert {section.stored for section in page.sections} == {"same"}
        assert [_without_lag(each) for each in before.sections] == [each.values for each in page.sections]


def _without_lag(section: ExplainedSection) -> list[ExplainedValue]:
    """Its values without what says that they are not folded yet."""
    return [
        msgspec.structs.replace(each, reasons=[reason for reason in each.reasons if reason.code != "not-folded"])
        for each in section.values
    ]


async def _check_page(shop: Shop, page: PageExplanation, stored: Document | None) -> None:
    """The answer against the stored page and the log."""
    if stored is None:
        assert page.status == "absent"
        assert not any(section.values for section in page.sections)
        return
    assert (page.status, page.ready) == (stored["status"], stored["ready"])
    rows = {row[0]: row[4] for row in await shop.store.pages.sections(page.sku, page.channel)}
    payloads = await _payloads(shop, page)
    for section in page.sections:
        if section.state == "shown":
            _check_section(section, rows[section.domain], payloads)
        else:
            assert rows.get(section.domain) is None
            assert section.reasons or section.state == "absent"
        for reason in _reasons(section):
            assert reason.text == REASONS[reason.code]
            if reason.path and reason.code != "withdrawn":
                assert _at(payloads[_known(reason.event)], _parsed(reason.path)) == reason.value
    own = {name: stored[name] for name in stored if name not in rows and name not in EMPTY}
    assert {_parsed(each.path): each.value for each in page.values} == dict(leaves(own))
    for value in page.values:
        for each in value.inputs:
            assert _of_event(page, each) == each.value == value.value


def _check_section(section: ExplainedSection, stored: bytes, payloads: dict[int, Any]) -> None:
    """Its values make the stored bytes, each leaf is in one of them, and each is made of what events have."""
    body = orjson.loads(stored)
    values = {_parsed(value.path)[1:]: value for value in section.values}
    assert len(values) == len(section.values)
    made = {name: each for name, each in orjson.loads(orjson.dumps(EMPTY[section.domain])).items() if name in body}
    for path, value in values.items():
        _put(made, path, value.value)
    assert encode(made) == stored
    for path, leaf in leaves(body):
        origins = [known for known in values if path[: len(known)] == known]
        is_absent = any(_parsed(each.path)[1:] == path for each in section.absent)
        assert len(origins) == 1 or (leaf in NOTHING and is_absent), path
    for path, value in values.items():
        for each in value.inputs:
            if each.path:
                assert _at(payloads[each.event], _parsed(each.path)) == each.value
        _check_made(path, value, payloads)


def _check_made(path: Path, value: ExplainedValue, payloads: dict[int, Any]) -> None:
    """What was done to the inputs gives the value."""
    given: list[Any] = [each.value for each in value.inputs]
    match value.how:
        case "stated" | "text":
            assert given == [value.value]
        case "contract":
            assert path[0] == "attributes" or path in {("contract",), ("unmapped",)}
            if path == ("attributes", "label"):
                assert value.value == ["small"] or (given, value.value) == (["S"], "small") or _is_list(given)
            elif path == ("attributes", "maker"):
                assert (given, value.value) == ([], "Pagefold")
            elif path[0] == "attributes":
                assert given[0] == value.value or not isinstance(value.value, str)
        case "requirements":
            assert path in {("completeness",), ("kept",)}
            assert given == []
        case "computed" if path[0] in {"categories", "breadcrumb"}:
            _check_tree(path, value.value, given)
        case "computed":
            _check_stock(path, value, [payloads[position] for position in dict.fromkeys(e.event for e in value.inputs)])
        case _:
            raise AssertionError(value.how)


def _check_tree(path: Path, shown: Any, given: list[Any]) -> None:  # noqa: ANN401  # JSON
    if path == ("categories",):
        assert [place[-1] for place in shown] == [each for each in dict.fromkeys(given[0]) if each in {"a", "b"}]
    else:
        assert set(shown) <= {"a", "Hemden"}


def _is_list(given: list[Any]) -> bool:
    return len(given) == 1 and isinstance(given[0], list)


def _check_stock(path: Path, value: ExplainedValue, stocks: list[Document]) -> None:
    counted = [
        max(each["available"] - each.get("safetyStock", 0), 0) for each in stocks if each["available"] is not None
    ]
    has_uncounted = len(counted) < len(stocks)
    match path:
        case ("available",):
            assert value.value == (None if has_uncounted else sum(counted))
        case ("locations", int(), "available"):
            assert value.value == (None if has_uncounted else counted[0])
        case ("status",):
            can_sell = has_uncounted or sum(counted) > 0
            orders = any(each.get("backorderable") for each in stocks)
            assert value.value == ("in_stock" if can_sell else "backorder" if orders else "out_of_stock")
        case ("restockAt",):
            assert value.value in [each.value for each in value.inputs]
        case ("locations", int(), "source"):
            assert [value.value] == [each.value for each in value.inputs]
        case _:
            raise AssertionError(path)


async def _payloads(shop: Shop, page: PageExplanation) -> dict[int, Any]:
    """The payloads of the events that an answer names, from the log, with the defaults that a page shows."""
    found: dict[int, Any] = {}
    for event in page.events:
        [stored] = await shop.store.records.notifications(event.position, event.position, (), 1)
        payload = orjson.loads(stored.state)["payload"]
        for asset in (payload or {}).get("assets", ()):
            asset.setdefault("position", 0)
        found[event.position] = payload
    return found


def _reasons(section: ExplainedSection) -> Iterator[Reason]:
    yield from section.reasons
    for value in section.values:
        yield from value.reasons
    for absent in section.absent:
        yield from absent.reasons


def _known(position: int | None) -> int:
    assert position is not None
    return position


def _of_event(page: PageExplanation, given: Input) -> object:
    [event] = [each for each in page.events if each.position == given.event]
    return {"sourceVersion": event.version, "occurredAt": event.occurred_at}[given.path]


def _parsed(path: str) -> Path:
    """The inverse of `written_path`."""
    names = re.findall(r"(?:^|\.)((?:[^.\[\\]|\\.)*)|\[(\d+)\]", path, re.DOTALL)
    return tuple(int(index) if index else re.sub(r"\\(.)", r"\1", name, flags=re.DOTALL) for name, index in names)


def _at(document: Any, path: Path) -> Any:  # noqa: ANN401  # JSON
    for name in path:
        document = document[name]
    return document


def _put(document: Any, path: Path, value: object) -> None:  # noqa: ANN401  # JSON
    *parents, last = path
    for name, following in zip(parents, path[1:], strict=True):
        if isinstance(document, list) and name == len(document):
            document.append([] if isinstance(following, int) else {})
        elif isinstance(document, dict):
            document.setdefault(name, [] if isinstance(following, int) else {})
        document = document[name]
    document[last] = value
