"""SKUs that look like other SKUs, and those that a spreadsheet has rounded."""

import unicodedata
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pagefold
from pagefold import Config, DomainEvent, Shop
from pagefold.engine.errors import Rejected
from pagefold.engine.intake.bulk_validator import BulkValidator
from pagefold.engine.intake.event_parser import parse_envelope, parse_event
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.snapshots.line_templates import LineTemplates
from pagefold.projections.streams import is_storable_sku, sku_error
from tests.support.rebuild_fixtures import counts_of, export_lines, rebuild, with_snapshots
from tests.support.small_shop import (
    Raw,
    append,
    as_line,
    configured,
    document,
    event,
    insert,
    keys_of,
    price,
    section,
    stock,
)

INVISIBLE = {
    "\u200b": "ZERO WIDTH SPACE",
    "\u200d": "ZERO WIDTH JOINER",
    "\u2060": "WORD JOINER",
    "\ufeff": "BYTE ORDER MARK",
    "\u00ad": "SOFT HYPHEN",
    "\u200e": "LEFT-TO-RIGHT MARK",
    "\u202e": "RIGHT-TO-LEFT OVERRIDE",
    "\u2066": "LEFT-TO-RIGHT ISOLATE",
    "\u2028": "LINE SEPARATOR",
    "\u2029": "PARAGRAPH SEPARATOR",
    "\u115f": "HANGUL CHOSEONG FILLER",
    "\u3164": "HANGUL FILLER",
    "\u034f": "COMBINING GRAPHEME JOINER",
    "\ufe0f": "VARIATION SELECTOR-16",
    "\u2800": "BRAILLE PATTERN BLANK",
    "\U000e0041": "TAG LATIN CAPITAL LETTER A",
}
ROUNDED = ["9.55E+12", "9,55E+12", "1E+05", "1.2e+16", "4.00638E-05", "9.55000000000001E+12"]
LIKE_ROUNDED = ["9.55E12", "12E+5", "A9.55E+12", "9.55E+", "1E5", "E+12", "5E-10", "1.E+1", "9.55E+12-M", "9.55E+00012"]
PRICES = document()["sources"] | {"erp": {"domains": ["pricing"], "spreadsheet_skus": "accept"}}


def why_not(sku: str, config: Config | None = None) -> str | None:
    """Why the validators reject an SKU; None if they do not. Both agree."""
    given = msgspec.structs.replace(event("pricing", {"currency": "EUR", "amount": "1.00"}), sku=sku)
    validator = EventValidator(config or configured("sqlite:///nowhere"))
    [reason, of_line] = [refusal_of(validator, each) for each in (given, parse_event(as_line(given)))]
    assert reason == of_line
    return None if reason is None else reason.removeprefix("sku: ")


def refusal_of(validator: EventValidator, given: DomainEvent) -> str | None:
    """The path and reason for which the validators reject an event; None if they do not."""
    try:
        validator.validate(given)
    except Rejected as refused:
        return str(refused)
    return None


@pytest.mark.parametrize(("character", "name"), INVISIBLE.items())
@pytest.mark.parametrize("where", ["A{}1", "{}A1", "A1{}"])
def test_invisible_characters_are_rejected_by_name(character: str, name: str, where: str) -> None:
    """Two SKUs that look alike would be two products: the error names the invisible character."""
    assert why_not(where.format(character)) == (
        f"must not contain the invisible character U+{ord(character):04X} {name}"
    )


@given(st.characters(categories=["Cf", "Zl", "Zp"]))
def test_no_format_character_is_part_of_an_sku(character: str) -> None:
    """The whole Unicode category is rejected, not only known characters."""
    assert "invisible" in (sku_error(f"A{character}1") or "")


@given(st.characters(categories=["L", "N", "P", "S"]))
def test_visible_characters_are_part_of_an_sku(character: str) -> None:
    """Letters, digits, signs and pictures of any script are valid, except the few blank ones."""
    blank = {"\u115f", "\u1160", "\u2800", "\u3164", "\uffa0"}
    assert sku_error(unicodedata.normalize("NFC", f"A{character}1")) is None or character in blank


@pytest.mark.parametrize("sku", ROUNDED)
def test_a_rounded_number_is_refused(sku: str) -> None:
    """The error says what happened, and the setting that accepts it."""
    reason = why_not(sku)
    assert reason is not None
    for part in (repr(sku), "a spreadsheet has rounded", "export the column as text", 'spreadsheet_skus = "accept"'):
        assert part in reason


@pytest.mark.parametrize("sku", LIKE_ROUNDED)
def test_other_skus_with_an_e_are_accepted(sku: str) -> None:
    """An SKU with an E in it is not always a rounded number."""
    assert why_not(sku) is None


@pytest.mark.parametrize("sku", ROUNDED)
def test_a_setting_accepts_rounded_numbers(sku: str) -> None:
    """The setting of their source, and of no other."""
    config = configured("sqlite:///nowhere", sources=PRICES)
    assert why_not(sku, config) is None
    stocked = parse_event(as_line(stock(1, sku=sku)))
    with pytest.raises(Rejected):
        EventValidator(config).validate(stocked)


def test_rounded_numbers_have_no_template() -> None:
    """Rows whose SKU a spreadsheet may have rounded are validated one by one."""
    shapes = LineTemplates(configured("sqlite:///nowhere"), "erp")
    lines = [as_line(event("pricing", {"amount": "1.00", "currency": "EUR"}, sku=sku)) for sku in ("A1", *ROUNDED)]
    shapes.learn(parse_envelope(lines[0]), lines[0])
    first, *others = shapes.entries(lines)
    assert first
    assert not any(others)


@pytest.mark.parametrize("sku", ["A\u200b1", "9.55E+12"])
async def test_skus_accepted_by_older_rules_can_be_read(shop: Shop, sku: str) -> None:
    """A log can be older than a rule: its pages stay, and its streams are folded."""
    state = b'{"id":"1","occurredAt":"2026-01-01T12:00:00.000000Z","recordedAt":"2026-01-01T12:00:00.000000Z",'
    state += b'"payload":{"available":3}}'
    assert await shop.store.log.insert([Raw(f"{sku}/*/inventory/wms-a", state=state)]) != [None]
    await shop.catch_up()
    assert (await section(shop, "inventory", sku=sku))["available"] == 3
    assert list(await shop.pages.get_many_json([sku], "web-de")) == [sku]


async def test_unstorable_skus_are_not_looked_up(shop: Shop) -> None:
    """A NUL or a lone surrogate is in no log, and is no error."""
    await insert(shop.store, "A/*/inventory/wms-a")
    for sku in ("", "a\0", "\ud800", "x" * 129):
        assert not is_storable_sku(sku)
        assert await shop.pages.get_json(sku, "web-de") is None


async def test_refused_skus_are_reported_one_by_one(config: Config) -> None:
    """The others of a batch are appended."""
    async with pagefold.open(config) as shop:
        results = await shop.append([stock(1, sku=sku) for sku in ("A", "A\u200b", "1.5E+07", "B")])
    assert [each.outcome for each in results] == ["appended", "rejected", "rejected", "appended"]
    assert {each.path for each in results} == {None, "sku"}


def test_bulk_rows_are_validated_alike() -> None:
    """The bulk validator accepts only SKUs that the validator accepts."""
    config = configured("sqlite:///nowhere")
    line = as_line(event("pricing", {"amount": "1.00", "currency": "EUR"}, sku="1.5E05"))
    shapes = LineTemplates(config, "erp")
    shapes.learn(parse_envelope(line), line)
    [entry] = shapes.entries([line])
    [statement] = BulkValidator(config).validate([line], [entry[: entry.index(b"\x1f")]])
    assert statement == EventValidator(config).validate(parse_event(line))


async def test_a_rebuild_rejects_what_the_intake_rejects(store_url: str, tmp_path: Path) -> None:
    """Among similar rows, with a template or without; and nothing is withdrawn while a row has no valid SKU."""
    config = with_snapshots(store_url, tmp_path, "erp")
    skus = ["A-1", "A-2", "4.00638E-05", "A-3", "9.55E+12", "A\u200b4", "A-5"]
    async with pagefold.open(config) as shop:
        await append(shop, price("1.00", sku="A-1"), price("1.00", sku="GONE"))
        rows = [as_line(price("1.00", sku=sku)) for sku in skus]
        odd = as_line(price("1.00", sku="4.00E-05")).replace(b'"amount"', b'"taxClass":"\\u0061","amount"')
        export_lines(config, "erp", [*rows, odd])
        counts = counts_of(await rebuild(shop, "erp"))
        assert counts == {"rows": 8, "equal": 1, "missing": 3, "refused": 4, "unreadable": 4, "orphans": 1}
        shown = [sku for sku, channel in await keys_of(shop.store) if channel == "web-de"]
        assert shown == ["A-1", "A-2", "A-3", "A-5", "GONE"]
        assert await section(shop, "pricing", sku="GONE") is not None
