"""Numbers that a double cannot represent: rejected, with their path, wherever JSON is free-form."""

import json
import math
import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import pagefold
from pagefold.domains.numbers import InexactNumberError, exact_number
from pagefold.engine.errors import Rejected
from pagefold.engine.intake.bulk_validator import BulkValidator
from pagefold.engine.intake.event_parser import canonical_json, parse_event
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.formats.request_parts import RejectedPart
from pagefold.engine.intake.readers.webhooks import WebhookReader
from pagefold.engine.intake.statement import Statement, fill_unchanged
from tests.support.deliveries import found_in
from tests.support.rebuild_fixtures import counts_of, export, export_lines, rebuild, with_snapshots
from tests.support.small_shop import Document, append, as_line, configured, document, event, section

EXACT = [
    "0.1", "-0.0", "0e5", "0.000e-99999999999999999999", "1e3", "1E+2", "0.5000000000000000000000", "1e23", "1.5e300",
    "0.30000000000000004", "5e-324", "1.7976931348623157e308", "9007199254740992.0", "1152921504606846976.0", "-12.50",
]  # fmt: skip
INEXACT = [
    "3E-400", "77e-20000000", "1e-9999999999999999999", "1.00000000000000000007", "0.3000000000000000001", "-2.5E-999",
    "9007199254740993.0", "1e309", "-1e999999999999", "3e-324", "123456789.123456789123", "0.1234567890123456789",
]  # fmt: skip
NAMED = [("a", "{}"), ("a.b[1].c", '{{"b":[0,{{"c":{}}}]}}'), ("a[2]", "[1,2.5,{}]"), ("a.x y", '{{"w":1.5,"x y":{}}}')]
VALIDATOR = EventValidator(configured("sqlite:///nowhere"))
numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)


def line_of(value: str) -> bytes:
    """A line whose attribute `a` is this JSON."""
    return as_line(event("catalog", {"attributes": {"z": 1.25, "a": "?"}})).replace(b'"?"', value.encode())


def is_exact(text: str) -> bool:
    """Whether a number is accepted."""
    try:
        exact_number(text)
    except InexactNumberError:
        return False
    return True


def refusal_of(line: bytes) -> str | None:
    """Why the validator rejects a line; None if it does not."""
    try:
        VALIDATOR.validate(parse_event(line))
    except Rejected as refused:
        return str(refused)
    return None


@pytest.mark.parametrize("text", EXACT)
def test_exact_numbers_are_accepted(text: str) -> None:
    """The shortest spelling of a double, other spellings of it, and its exact value."""
    assert exact_number(text) == float(text)


@pytest.mark.parametrize("text", INEXACT)
def test_inexact_numbers_are_rejected(text: str) -> None:
    """A number that becomes 0, 1 or another one; the message has both."""
    with pytest.raises(InexactNumberError, match="write it as a string"):
        exact_number(text)


@given(numbers)
def test_numbers_are_compared_as_decimals(text: str) -> None:
    """Exactly: an accepted number has the value of its double's shortest decimal, or of the double itself."""
    assume("." in text or "e" in text.lower())
    value = float(text)
    same = math.isfinite(value) and Decimal(text) in (Decimal(repr(value)), Decimal(value))
    assert is_exact(text) == same


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_is_accepted(value: float) -> None:
    """As every current program writes it."""
    assert exact_number(repr(value)) == value


# --- at every entrance--------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", INEXACT)
@pytest.mark.parametrize(("path", "around"), NAMED)
def test_the_validator_names_the_path(text: str, path: str, around: str) -> None:
    """The error names the path, however deep, among valid numbers."""
    with pytest.raises(Rejected) as caught:
        VALIDATOR.validate(parse_event(line_of(around.format(text))))
    assert caught.value.path == f"payload.attributes.{path}"
    assert text in caught.value.reason


@pytest.mark.parametrize("text", INEXACT)
def test_the_bulk_validator_accepts_no_more(text: str) -> None:
    """The bulk validator accepts nothing that the validator would reject."""
    lines = [line_of("1.5"), line_of(f"[{text}]")]
    streams = [b"TSHIRT-M/*/catalog/pim"] * 2
    validator = BulkValidator(configured("sqlite:///nowhere"))
    assert validator.validate(lines[1:], streams[1:]) == [None]
    assert validator.validate(lines, streams)[1] is None
    assert canonical_json(f'{{"attributes":{{"a":{text}}}}}'.encode()) == b""


@pytest.mark.parametrize("text", EXACT)
def test_exact_numbers_pass_every_entrance(text: str) -> None:
    """With the value as written."""
    line = line_of(text)
    statement = VALIDATOR.validate(parse_event(line))
    assert json.loads(statement.content)["attributes"]["a"] == float(text)
    [bulk] = BulkValidator(configured("sqlite:///nowhere")).validate([line], [b"TSHIRT-M/*/catalog/pim"])
    assert bulk is not None
    assert bulk.content == statement.content


@pytest.mark.parametrize("text", INEXACT)
def test_a_webhook_brings_a_number_as_it_is_written(text: str) -> None:
    """A mapped number is rejected by its place; an unmapped one does no harm."""
    parsed = document()
    contract = {"sku": "s", "sourceVersion": "v", "catalog": {"attributes": {"w": "w", "deep": "d"}}}
    parsed["sources"]["pim"]["webhook"] = {"secret_variables": ["S"], "contract": contract}
    config = pagefold.Config.parse(parsed)
    body = b'{"s":"A","v":1,"at":"2026-01-01T00:00:00Z","w":%b,"d":%b,"other":[%b]}'
    for weight, deep, place in ((text, "1", "w"), ("1.5", f'{{"x":[{text}]}}', "deep")):
        [found] = found_in(WebhookReader(config, "pim"), body % (weight.encode(), deep.encode(), text.encode()))
        assert isinstance(found, RejectedPart)
        assert found.rejection.path == f"catalog.attributes.{place}"
    [found] = found_in(WebhookReader(config, "pim"), body % (b"1.5", b'"x"', text.encode()))
    assert isinstance(found, Statement)
    EventValidator(config).validate(found.event)


def test_a_change_is_completed_with_numbers_as_they_are_written() -> None:
    """A partial event is completed with the stored values, and validated as a complete one."""
    change = Statement(parse_event(line_of("2.00000000000000000001")), (("attributes", "text"),))
    completed = fill_unchanged(change, b'{"attributes":{"text":"long"}}')
    with pytest.raises(Rejected, match=r"payload\.attributes\.a: .*2\.00000000000000000001"):
        VALIDATOR.validate(completed)


async def test_a_rebuild_rejects_what_the_intake_rejects(store_url: str, tmp_path: Path) -> None:
    """Also if the number would become the one in the log."""
    config = with_snapshots(store_url, tmp_path, "pim")
    skus = ["A", "B", "C"]
    async with pagefold.open(config) as shop:
        await append(shop, *[event("catalog", {"attributes": {"w": 1.0}}, sku=sku) for sku in skus])
        rows = [as_line(event("catalog", {"attributes": {"w": 1.0}}, sku=sku)) for sku in skus]
        export_lines(config, "pim", [rows[0], rows[1].replace(b"1.0", b"1.00000000000000000003"), rows[2]])
        assert counts_of(await rebuild(shop, "pim")) == {"rows": 3, "equal": 2, "refused": 1}
        export(config, "pim", *[event("catalog", {"attributes": {"w": 1.0}}, sku=sku) for sku in skus])
        assert counts_of(await rebuild(shop, "pim")) == {"rows": 3, "equal": 3}
        assert (await section(shop, "catalog", sku="B"))["attributes"] == {"w": 1.0}


@pytest.mark.parametrize(
    "text",
    [
        "1e" + "9" * 900_000,
        "0." + "0" * 900_000 + "1",
        "0." + "3" * 900_000,
        "7" * 900_000 + "e-899999",
        "1." + "0" * 900_000,
    ],
    ids=["exponent", "zeros in front", "digits", "digits and exponent", "zeros behind"],
)
def test_no_number_costs_more_than_reading_it(text: str) -> None:
    """A megabyte of digits takes a few milliseconds: neither memory nor time grow with the exponent."""
    started = time.process_time()
    reason = refusal_of(line_of(text))
    assert time.process_time() - started < 1.0
    assert reason is None or len(reason) < 200


@pytest.mark.parametrize("digits", [16, 20, 4_000, 5_000, 900_000])
def test_integers_of_any_length_are_named(digits: int) -> None:
    """Integers beyond a double, and beyond Python's limit of digits."""
    started = time.process_time()
    reason = refusal_of(line_of('{"x":[1,%s]}' % ("9" * digits)))
    assert reason == "payload.attributes.a.x[1]: is beyond 2^53-1; write a larger integer as a string"
    assert time.process_time() - started < 1.0


def test_values_of_a_program_are_doubles_already() -> None:
    """A float has no other form in Python, and is as exact as it can be."""
    payload: Document = {"attributes": {"a": 1.000000000000000005, "b": 5e-324}}
    assert VALIDATOR.validate(event("catalog", payload)).content == b'{"attributes":{"a":1.0,"b":5e-324}}'
