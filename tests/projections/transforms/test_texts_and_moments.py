"""Texts, lists, codes, moments and locales: traps of Unicode, HTML, clocks that are put forward, and spellings."""

import csv
import time
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from biip.gtin import Gtin
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from pagefold.projections.transforms import InvalidMapping, LookupTable, text_table
from pagefold.projections.transforms.gtins import check_digit, gtin_problem
from tests.support.transform_fixtures import ColumnScope, compiler_for, made, refusal, transformed

# --- texts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>Blau &amp; grau</p>", "Blau & grau"),
        ("a<br>b<br/>c", "a b c"),
        ("&amp;lt;b&amp;gt;", "&lt;b&gt;"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("<3 & <- &", "<3 & <- &"),
        ("<a title=\"x > y\" href='z>'>link</a>", "link"),
        ("x<!-- <b> -->y<!---->z", "xyz"),
        ("<style>p{}</style><SCRIPT>if (a</b) {}</SCRIPT >ok", "ok"),
        ("in<b>line</b> <i>te</i>xt", "inline text"),
        ("<p>unfinished <b", "unfinished <b"),
        ("caf&eacute; &#8364; &#x1F600; &nbsp;x", "café € 😀 x"),
        ("line\none", "line one"),
    ],
)
def test_html_becomes_text(html: str, text: str) -> None:
    """Tags go, text stays: entities are decoded once, what only looks like a tag is text."""
    assert transformed("html_to_text", html) == text


@given(st.text(st.characters(exclude_characters="<&", exclude_categories=["Cs"]), max_size=40))
def test_text_without_markup_keeps_its_words(text: str) -> None:
    """Only space changes."""
    result = transformed("html_to_text", text)
    assert ("" if result is UNSET else str(result)).split() == text.split()


@given(st.text(max_size=60), st.integers(2, 50))
def test_a_truncated_text_fits(text: str, length: int) -> None:
    """It is not longer than allowed, and begins as the text does; what fits is left alone."""
    result = transformed("truncate", text, length)
    if result is UNSET:
        assert not text.strip()
    else:
        assert len(str(result)) <= length
        assert str(result) == text or text.startswith(str(result).removesuffix("…"))
        assert (str(result) == text) == (len(text) <= length)


@pytest.mark.parametrize(
    ("text", "length", "result"),
    [
        ("ae\u0301b", 3, "a…"),
        ("a👩\u200d👧b", 4, "a…"),
        ("a👍🏽bcd", 4, "a👍🏽…"),
        ("a✌\ufe0fbcd", 3, "a…"),
        ("ab cd", 4, "ab…"),
    ],
)
def test_no_character_is_cut_in_two(text: str, length: int, result: str) -> None:
    """Accents, joined emoji and colors of skin stay with what they belong to."""
    assert transformed("truncate", text, length) == result


@given(st.text(max_size=30))
def test_a_clean_text_is_clean(text: str) -> None:
    """Composed, without control characters, and cleaning it again changes nothing."""
    result = transformed("clean", text)
    if isinstance(result, str):
        assert unicodedata.is_normalized("NFC", result)
        assert not any(unicodedata.category(each) == "Cc" for each in result)
        assert transformed("clean", result) == result


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=5
    )
)
def test_csv_can_be_read_back(items: list[str]) -> None:
    """By the csv module: quotes, separators and line breaks inside items included."""
    filled = [item for item in items if item.strip()]
    written = transformed("multi_to_csv", items)
    if filled:
        assert (
            next(iter(csv.reader([str(written)], strict=True))) == filled
            or "\n" in str(written)
            or "\r" in str(written)
        )
    else:
        assert written is UNSET


@given(st.lists(st.sampled_from(["a", "b c", "é", ""]), max_size=5), st.sampled_from([",", "|", "; "]))
def test_what_is_joined_can_be_split(items: list[str], separator: str) -> None:
    """Without the blank items."""
    spec = {"from": "x", "steps": [{"join": separator}, {"split": separator}]}
    filled = [item for item in items if item]
    assert made(spec, {"x": items}) == (filled or UNSET)


# --- codes ----------------------------------------------------------------------------------------


@given(st.sampled_from([7, 11, 12, 13]), st.data())
def test_gtins_are_those_of_biip(length: int, data: st.DataObject) -> None:
    """Right and wrong check digits, of each length."""
    digits = data.draw(st.text("0123456789", min_size=length, max_size=length))
    for last in range(10):
        text = f"{digits}{last}"
        expected = _biip_accepts(text) and bool(text.strip("0"))
        assert (gtin_problem(text) is None) == expected
        assert (last == check_digit(digits)) == expected or not text.strip("0")


def _biip_accepts(text: str) -> bool:
    try:
        Gtin.parse(text)
    except Exception:  # noqa: BLE001  # it has several errors for what is wrong
        return False
    return True


@pytest.mark.parametrize(
    "text", ["", "1", "123456789", "4006381333931x", "\uff14006381333931", "0" * 13, "4 006381 333932"]
)
def test_what_is_no_gtin(text: str) -> None:
    """Digits of other scripts, other lengths, zeros alone."""
    assert refusal({"from": "x", "gtin": {}, "required": True}, {"x": text}).code in {"not_a_gtin", "blank"}


# --- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["café", "cafe\u0301", " café ", "CAFÉ"])
def test_keys_are_compared_by_their_characters(code: str) -> None:
    """Composed and decomposed are one; case matters unless the table says that it does not."""
    table = LookupTable("t", [("Café", "x")], ignore_case=True)
    assert transformed("lookup", code, "t", tables={"t": table}) == "x"
    exact = LookupTable("t", [("cafe\u0301", "x")])
    assert transformed("lookup", code, "t", tables={"t": exact}) == ("x" if code.islower() else UNSET)


def test_keys_of_any_kind() -> None:
    """Ids come as text and as numbers; true and false as themselves."""
    table = text_table("t", {"49": "Black", "true": "yes"})
    for value, result in ((49, "Black"), ("49", "Black"), (49.0, UNSET), (True, "yes")):
        assert transformed("lookup", value, "t", tables={"t": table}) == result


def test_two_rows_with_one_key_are_refused() -> None:
    """Unless they say the same."""
    assert len(LookupTable("t", [("a", "x"), ("a ", "x"), ("", "y"), (None, "z")])) == 1
    with pytest.raises(InvalidMapping, match=r"tables\.t: two rows have the key 'a', with other values"):
        LookupTable("t", [("a", "x"), ("a", "y")])
    with pytest.raises(InvalidMapping, match=r"tables\.t: the key \[\] is neither a text nor an integer"):
        LookupTable("t", [([], "x")])


# --- locales --------------------------------------------------------------------------------------


def test_scopes_are_not_locales() -> None:
    """`en_US-print` is a valid tag with the variant `print`, and yet another scope; with `locales` it can be meant."""
    record = {"d-en_US": "Soft", "d-en_US-print": "Cotton", "d-de_DE-web": "Weich", "d": "x", "d-": "y"}
    assert made({"locale_columns": "d-{locale}"}, record, scope=ColumnScope()) == {"en-US": "Soft"}
    assert made({"locale_columns": "d-{locale}-web"}, record, scope=ColumnScope()) == {"de-DE": "Weich"}
    named = {"locale_columns": {"pattern": "d-{locale}", "locales": ["en-US-print"]}}
    assert made(named, record, scope=ColumnScope()) == {"en-US-print": "Cotton"}


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("d", "expected one {locale}"),
        ("{locale}.d", "must be in the last name"),
        ("{locale}-{locale}", "expected one {locale}"),
    ],
)
def test_a_pattern_has_one_place(pattern: str, problem: str) -> None:
    """A pattern that could not find anything does not compile."""
    with pytest.raises(InvalidMapping, match=problem):
        compiler_for().mapping({"locale_columns": pattern}, "payload.x")


def test_texts_by_locale_go_through_steps() -> None:
    """Each text is transformed; one that is blank then is left out."""
    spec = {"from": "x", "steps": [{"localized": {}}, "html_to_text", {"case": "upper"}]}
    assert made(spec, {"x": {"de": "<p>Hemd</p>", "en": "<br>", "fr": None}}) == {"de": "HEMD"}
    assert made(spec, {"x": {"en": "<br>"}}) is UNSET


# --- moments --------------------------------------------------------------------------------------


@pytest.fixture(params=["UTC", "Asia/Kolkata", "America/St_Johns"])
def process_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A process in another zone."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("process_zone")
def test_moments_do_not_depend_on_the_process() -> None:
    """Whatever its own zone is."""
    assert transformed("date", "2026-07-01 12:00", {"zone": "Europe/Berlin"}) == "2026-07-01T10:00:00Z"
    assert transformed("date", 1767225600, "epoch_seconds") == "2026-01-01T00:00:00Z"
    assert transformed("date", "01.07.2026", {"format": "%d.%m.%Y", "result": "date"}) == "2026-07-01"


moments = st.datetimes(datetime.fromisoformat("0001-01-04"), datetime.fromisoformat("9999-12-29"))
local_moments = st.datetimes(datetime.fromisoformat("1990-01-01"), datetime.fromisoformat("2037-01-01"))
offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(moments, offsets)
def test_moments_are_those_of_the_standard_library(moment: datetime, offset: timezone) -> None:
    """RFC 3339 in its spellings: one moment, to the microsecond."""
    written = moment.replace(tzinfo=offset)
    expected = f"{written.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"
    text = written.isoformat()
    for spelling in (text, text.replace("T", " "), text.replace("T", "t"), f" {text} "):
        assert transformed("date", spelling) == expected
    assert transformed("date", written) == expected


@given(moments, st.sampled_from(["%d.%m.%Y %H:%M:%S", "%Y%m%d%H%M%S", "%m/%d/%Y %I:%M:%S %p", "%Y-%m-%dT%H:%M:%S.%f"]))
def test_formats_are_those_of_strptime(moment: datetime, form: str) -> None:
    """What `strftime` writes is read back, as `strptime` would."""
    text = moment.strftime(form.replace("%Y", "@")).replace("@", f"{moment.year:04}")
    expected = datetime.strptime(text, form).isoformat()  # noqa: DTZ007  # its zone is UTC
    assert transformed("date", text, {"format": form, "zone": "UTC"}) == f"{expected}Z"


@given(local_moments, st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]))
def test_local_times_exist_once_or_are_refused(moment: datetime, zone: str) -> None:
    """A local time is the moment at which the clocks there show it; an hour without or with two is refused."""
    spec = {"from": "x", "date": {"zone": zone}}
    possible = {
        each.astimezone(UTC)
        for fold in (0, 1)
        for each in [moment.replace(tzinfo=ZoneInfo(zone), fold=fold)]
        if each.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) == moment
    }
    if len(possible) == 1:
        assert made(spec, {"x": moment.isoformat()}) == f"{possible.pop().replace(tzinfo=None).isoformat()}Z"
    else:
        code = "no_such_hour" if not possible else "two_such_hours"
        assert refusal(spec, {"x": moment.isoformat()}).code == code


@pytest.mark.parametrize(
    "text",
    [
        "infinity", "-infinity", "9999-12-31", "9999-12-31T23:59:59.9999999", "9999-12-31T23:59:59+14:00",
        "0001-01-01T00:00:00", "0000-00-00 00:00:00", "294276-12-31 23:59:59", "99991231",
    ],
)  # fmt: skip
def test_open_ends_are_blank(text: str) -> None:
    """What .NET, PostgreSQL, MySQL and Dynamics write for no end is nothing, as `until` wants it."""
    assert transformed("date", text) is UNSET
    assert made({"from": "x", "date": {}, "blank": "null"}, {"x": text}) is None
    assert refusal({"from": "x", "date": {}, "required": True}, {"x": text}).code == "blank"


def test_counts_beyond_every_calendar_are_open_ends() -> None:
    """Debezium writes infinity as the largest and the smallest long."""
    for value in (2**63 - 1, -(2**63), 9223372036825200000):
        assert transformed("date", value, "epoch_microseconds") is UNSET


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-30", "2026-13-01", "2026-01-01T24:00:00Z", "2026-01-01T10:00:60Z", "2026-1-1", "1.1.26", "2026-W01-1",
        "today", "2026-01-01T10:00:00+25:00", "\uff1202\uff16-01-01",
    ],
)  # fmt: skip
def test_what_is_no_moment_is_refused(text: str) -> None:
    """By name, with the value."""
    error = refusal({"from": "x", "date": {"zone": "UTC"}}, {"x": text})
    assert error.code == "not_a_moment"
    assert repr(text) in str(error)


def test_the_last_day_counts_to_its_end() -> None:
    """Also on the day on which clocks are put forward, which has 23 hours; nine decimals are read to six."""
    parameters = {"zone": "Europe/Berlin", "inclusive": "day"}
    assert transformed("date", "2026-03-29", parameters) == "2026-03-29T22:00:00Z"
    assert transformed("date", "2026-03-28 00:00:00", parameters) == "2026-03-28T23:00:00Z"
    assert transformed("date", "2026-01-01T00:00:00.123456789Z") == "2026-01-01T00:00:00.123456Z"
    with pytest.raises(InvalidMapping, match="a day has an end only in a zone"):
        compiler_for().mapping({"from": "x", "date": {"inclusive": "day"}}, "payload.x")


# --- rules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "value", "code"),
    [
        ({"min": 1}, "0.99", "below_minimum"),
        ({"max": "9.99"}, "10.00", "above_maximum"),
        ({"min": 1}, "x", "not_a_number"),
        ({"min_length": 2}, "é", "too_short"),
        ({"max_length": 2}, "abc", "too_long"),
        ({"max_items": 1}, ["a", "b"], "too_long"),
        ({"min_items": 1}, [], "too_short"),
        ({"one_of": ["S", "M"]}, "L", "not_allowed"),
        ({"one_of": [1]}, True, "not_allowed"),
        ({"one_of": ["a"]}, ["a", "b"], "not_allowed"),
        ({"format": "url"}, "ftp://x", "wrong_format"),
        ({"format": "url"}, "https://shop.example/a b", "wrong_format"),
        ({"format": "email"}, "a@b", "wrong_format"),
        ({"format": "gtin"}, "4006381333932", "wrong_format"),
        ({"format": "locale"}, "de_DE", "wrong_format"),
        ({"format": "color"}, "#12345g", "wrong_format"),
        ({"pattern": "[A-Z]{2}"}, "ABC", "wrong_format"),
        ({"pattern": "[A-Z]{2}"}, 5, "wrong_type"),
        ({"min_items": 1}, "a", "wrong_type"),
    ],
)
def test_a_rule_refuses(check: dict[str, object], value: object, code: str) -> None:
    """Before anything is written, with what would be right."""
    error = refusal({"from": "x", "check": check}, {"x": value})
    assert (error.code, error.path) == (code, "x")


@pytest.mark.parametrize(
    ("check", "value"),
    [
        ({"min": 1, "max": "9.99"}, "9.99"),
        ({"one_of": ["S", 1, True]}, 1),
        ({"format": "url"}, "https://shop.example:8443/a?b=c#d"),
        ({"format": "email"}, "first.last+tag@shop.example"),
        ({"format": "locale"}, "zh-Hant-TW"),
        ({"format": "currency", "one_of": ["EUR"]}, "EUR"),
        ({"format": "country"}, "DE"),
        ({"pattern": "[A-Z]{2}", "max_length": 2}, ["AB", "CD"]),
        ({"min": 5}, None),
    ],
)
def test_a_rule_accepts(check: dict[str, object], value: object) -> None:
    """What keeps to all rules comes through; blank values are the policy's business."""
    assert made({"from": "x", "check": check}, {"x": value}) == (UNSET if value is None else value)


@pytest.mark.parametrize(
    ("check", "problem"),
    [
        ({"mix": 1}, "payload.x.check: object contains unknown field `mix`"),
        ({"one_of": []}, "payload.x.check.one_of: allows no value at all"),
        ({"min_length": 3, "max_length": 2}, "payload.x.check.min_length: is greater than `max_length`"),
        ({"min": "many"}, "payload.x.check.min: 'many' is not a number"),
        ({"format": "iban"}, "payload.x.check.format: invalid enum value 'iban'"),
        ({"pattern": "("}, "payload.x.check.pattern: is not a pattern of RE2"),
        ({"min_items": -1}, "payload.x.check.min_items: expected `int` >= 0"),
    ],
)
def test_rules_that_cannot_be(check: dict[str, object], problem: str) -> None:
    """A mistake in a rule is found before any record."""
    with pytest.raises(InvalidMapping) as caught:
        compiler_for().mapping({"from": "x", "check": check}, "payload.x")
    assert str(caught.value).startswith(problem)
