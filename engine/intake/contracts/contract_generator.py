"""A first contract for records: from a sample, or from a JSON Schema. What is not certain is marked, to be decided.

Nothing is hidden: each line says what the sample has, and a person decides.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pagefold.domains.locales import canonical_locale
from pagefold.engine.intake.contracts.field_roles import MOST, field_for, words_of
from pagefold.engine.intake.contracts.record_profile import FieldProfile, RecordProfile
from pagefold.engine.intake.contracts.toml_text import dotted_key, inline_value

DECIDE = "DECIDE"
"""Marks what a person has to decide."""

MAX_EXAMPLE_CHARACTERS = 40
MIN_LOCALES = 2

_currency_suffix = re.compile(r"(?P<stem>.+?)[-_. ]?(?P<currency>[A-Z]{3})")
_locale_suffix = re.compile(r"(?P<stem>.+?)(?P<separator>[-_.])(?P<locale>[A-Za-z]{2}(?:[-_][A-Za-z]{2})?)")
_identifier = frozenset(["id", "no", "nr", "number", "code", "key", "zip", "phone", "sku", "ean", "upc", "barcode"])


class Facts(NamedTuple):
    """What a contract has to fit: the source and its domains, the shop's languages, the sample's origin.

    `currencies` are those of the shop, with the channels that have them.

    `columns`: the records are rows with columns. `items` is where the records are in a message, if not on top.
    """

    source: str
    domains: Sequence[str]
    currencies: Mapping[str, Sequence[str]]
    languages: Collection[str]
    origin: str
    columns: bool
    items: str | None = None


class Line(NamedTuple):
    """A line of a contract, and what to know about it."""

    text: str
    comment: str = ""


@dataclass(slots=True)
class Draft:
    """A contract that is being written."""

    profile: RecordProfile
    facts: Facts
    head: list[Line] = field(default_factory=list)
    tables: list[tuple[str, list[Line]]] = field(default_factory=list)
    used: set[tuple[str, ...]] = field(default_factory=set)

    def take(self, role: str) -> FieldProfile | None:
        """The field that probably has a role; nothing else is made of it."""
        found = field_for(role, self.profile, self.used)
        if found is not None:
            self.used.add(found.names)
        return found

    def path(self, each: FieldProfile) -> str:
        """A field as a path of the contract."""
        if self.facts.columns:
            return each.name
        return ".".join(name.replace(".", "\\.") for name in each.names)

    def line(self, key: str, each: FieldProfile, more: Mapping[str, object] | None = None, note: str = "") -> Line:
        """A place that reads a field, with what the sample has there."""
        spec: object = {"from": self.path(each), **more} if more else self.path(each)
        comment = "; ".join(filter(None, [note, _seen(self.profile, each)]))
        return Line(f"{key} = {inline_value(spec)}", comment)


def generated_contract(profile: RecordProfile, facts: Facts) -> str:
    """The text of a contract, which compiles."""
    draft = Draft(profile, facts)
    _head(draft)
    writers = {"pricing": _pricing, "inventory": _inventory, "media": _media, "catalog": _catalog}
    for domain, write in writers.items():
        if domain in facts.domains:
            write(draft)
    if not draft.tables:
        nothing = Line(f"# {DECIDE}: no field looks like one of {facts.domains[0]}")
        draft.tables.append((f"[{facts.domains[0]}]", [nothing]))
    return "".join(_text(draft))


# --- what the whole contract says -------------------------------------------------------------------


def _head(draft: Draft) -> None:
    head, facts = draft.head, draft.facts
    head += [Line(f"name = {inline_value(facts.source)}"), Line("version = 1")]
    if facts.items is not None:
        head.append(Line(f"items = {inline_value(facts.items)}", "where the records are"))
    if _writes_commas(draft.profile):
        head.append(Line('decimal = ","', "numbers are written with a comma"))
    if (sku := draft.take("sku")) is not None:
        head.append(draft.line("sku", sku))
    elif (named := field_for("sku", draft.profile, by_name=True)) is not None and named.filled:
        draft.used.add(named.names)
        is_full = draft.profile.is_full(named)
        problem = (
            "several records have the same" if is_full else "records without one are refused; `only` leaves them out"
        )
        head.append(draft.line("sku", named, note=f"{DECIDE}: {problem}"))
    else:
        head.append(draft.line("sku", _likeliest_key(draft), note=f"{DECIDE}: no name says that it is the SKU"))
    _versions(draft)


def _likeliest_key(draft: Draft) -> FieldProfile:
    """The first field whose values are all there and all different, else the first field."""
    fields = list(draft.profile.fields.values())
    found = next(
        (each for each in fields if draft.profile.is_unique(each) and each.kinds <= {"text", "number"}), fields[0]
    )
    draft.used.add(found.names)
    return found


def _versions(draft: Draft) -> None:
    version, moment = draft.take("sourceVersion"), draft.take("moment")
    if version is not None:
        draft.head.append(draft.line("sourceVersion", version, note=f"{DECIDE}: does it grow with every change?"))
        if moment is not None:
            draft.head.append(draft.line("occurredAt", moment))
    elif moment is not None:
        draft.head.append(Line('versions = "moment"', "the time of the last change is the version"))
        draft.head.append(draft.line("sourceVersion", moment))
    else:
        draft.head.append(
            Line('versions = "none"', f"{DECIDE}: no field has a version; the content decides what is new")
        )
    if moment is not None and not moment.has_form("moment"):
        draft.head.append(Line('zone = "UTC"', f"{DECIDE}: the zone of times without an offset"))


def _writes_commas(profile: RecordProfile) -> bool:
    numbers = [each for each in profile.fields.values() if not each.has_form("integer")]
    commas, points = (sum(each.has_form(form, MOST) for each in numbers) for form in ("comma", "point"))
    return commas > points


# --- domains ----------------------------------------------------------------------------------------


def _pricing(draft: Draft) -> None:
    by_currency = list(_prices_by_currency(draft))
    for currency, price in by_currency:
        lines = [Line(f"currency = {inline_value({'constant': currency})}")]
        if len(by_currency) > 1:  # a stream has one price: those of other currencies need channels of their own
            channels = [*draft.facts.currencies[currency]]
            lines.insert(0, Line(f"channel = {inline_value({'constant': channels})}"))
        draft.tables.append(("[pricing]", [*lines, _amount(draft, price)]))
    if by_currency or (amount := draft.take("amount")) is None:
        return
    currency_field = draft.take("currency")
    lines = [_constant_currency(draft) if currency_field is None else draft.line("currency", currency_field)]
    lines.append(_amount(draft, amount))
    if (old := draft.take("compareAt")) is not None:
        lines.append(draft.line("compareAt", old))
    draft.tables.append(("[pricing]", lines))


def _amount(draft: Draft, price: FieldProfile) -> Line:
    """The price; where records have none, what was said of it before is withdrawn."""
    has_blanks = not draft.profile.is_schema and not draft.profile.is_full(price)
    blank = {"blank": "withdraw"} if has_blanks else None
    return draft.line("amount", price, blank, note=_minor_note(price))


def _prices_by_currency(draft: Draft) -> Iterator[tuple[str, FieldProfile]]:
    """Columns such as `price-EUR`."""
    for each in draft.profile.fields.values():
        found = _currency_suffix.fullmatch(each.name)
        if found is None or "price" not in words_of(found["stem"]) or found["currency"] not in draft.facts.currencies:
            continue
        if each.has_form("point") or each.has_form("comma"):
            draft.used.add(each.names)
            yield found["currency"], each


def _constant_currency(draft: Draft) -> Line:
    currency = next(iter(draft.facts.currencies), "EUR")
    return Line(f"currency = {inline_value({'constant': currency})}", f"{DECIDE}: no field has the currency")


def _minor_note(price: FieldProfile) -> str:
    if not price.has_form("integer"):
        return ""
    return f'{DECIDE}: if these are cents, add money = {{ currency = …, unit = "minor" }}'


def _inventory(draft: Draft) -> None:
    if (available := draft.take("available")) is None:
        return
    lines = [draft.line("available", available)]
    if (safety := draft.take("safetyStock")) is not None:
        lines.append(draft.line("safetyStock", safety))
    draft.tables.append(("[inventory]", lines))


def _media(draft: Draft) -> None:
    if (images := draft.take("assets")) is None:
        return
    members = {} if images.members is None else images.members.fields
    url = next((each.name for each in members.values() if each.has_form("url")), None)
    if members and url is None:
        draft.used.discard(images.names)
        return
    each = {"each": {"members": {"url": url or "."}}}
    more = each if "list" in images.kinds else {"steps": [{"split": ","}, each]}
    draft.tables.append(("[media]", [draft.line("assets", images, more)]))


def _catalog(draft: Draft) -> None:
    lines: list[Line] = []
    for role, more in (("family", None), ("parent", None), ("enabled", None), ("categories", {"split": ","})):
        if (found := draft.take(role)) is not None:
            lines.append(draft.line(role, found, more if "text" in found.kinds else None))
    if (gtin := draft.take("gtin")) is not None:
        lines.append(draft.line("references.gtin", gtin, {"gtin": True}))
    lines += _localized(draft)
    codes: dict[str, str] = {}
    for each in draft.profile.fields.values():
        if each.names not in draft.used and each.kinds:
            draft.used.add(each.names)
            code = _code(draft, each, codes)
            key = dotted_key("localized" if each.has_form("locales") else "attributes", code)
            lines.append(draft.line(key, each, _conversion(draft, each)))
    if lines:
        draft.tables.append(("[catalog]", lines))


def _localized(draft: Draft) -> Iterator[Line]:
    """Columns such as `name_de`, if there are two of them at least."""
    groups: dict[tuple[str, str], list[FieldProfile]] = {}
    for each in draft.profile.fields.values():
        found = _locale_suffix.fullmatch(each.name)
        if draft.facts.columns and found and each.names not in draft.used and _language(found["locale"]):
            groups.setdefault((found["stem"], found["separator"]), []).append(each)
    for (stem, separator), members in groups.items():
        languages = {_language(each.name.removeprefix(stem + separator)) for each in members}
        if len(members) >= MIN_LOCALES and languages & {*draft.facts.languages}:
            draft.used.update(each.names for each in members)
            spec = {"locale_columns": f"{stem}{separator}{{locale}}"}
            names = ", ".join(each.name for each in members)
            yield Line(f"{dotted_key('localized', _cased(stem))} = {inline_value(spec)}", names)


def _language(name: str) -> str | None:
    """The language of a locale; None of another name."""
    tag = canonical_locale(name)
    return None if tag is None else tag.partition("-")[0]


def _code(draft: Draft, each: FieldProfile, codes: dict[str, str]) -> str:
    """The code of an attribute: its names, or its path if another one has that code."""
    path, code = draft.path(each), _cased("_".join(each.names))
    return code if codes.setdefault(code, path) == path else path


def _cased(name: str) -> str:
    """Names all in capitals get small letters."""
    return name.lower() if name.isupper() else name


def _conversion(draft: Draft, each: FieldProfile) -> dict[str, object] | None:
    """Numbers and flags that are written as text become such; what may be an identifier stays."""
    if each.kinds != {"text"} or each.has_form("gtin") or _identifier.intersection(words_of(each.name)):
        return None
    if each.has_form("boolean"):
        return {"boolean": True}
    if draft.profile.records and each.has_form("comma") and _writes_commas(draft.profile):
        return {"number": {"decimal": ","}}
    return {"number": True} if each.has_form("point") else None


# --- text -------------------------------------------------------------------------------------------


def _seen(profile: RecordProfile, each: FieldProfile) -> str:
    """What the sample has at a field."""
    if profile.is_schema:
        return "required by the schema" if each.filled else "optional in the schema"
    share = (
        "in every record"
        if profile.is_full(each)
        else f"in {100 * each.filled // max(profile.records, 1)} % of the records"
    )
    if each.example is None:
        return share
    shown = inline_value(each.example)
    return f"{share}, such as {shown[:MAX_EXAMPLE_CHARACTERS]}{'…' if len(shown) > MAX_EXAMPLE_CHARACTERS else ''}"


def _text(draft: Draft) -> Iterator[str]:
    facts = draft.facts
    yield f"# A first contract for {facts.source}, made of {facts.origin}.\n"
    yield f"# What is marked {DECIDE} is a guess: check it.\n\n"
    yield from map(_line_text, draft.head)
    several = sum(title == "[pricing]" for title, _ in draft.tables) > 1
    for title, lines in draft.tables:
        yield f"\n{f'[{title}]' if several and title == '[pricing]' else title}\n"
        yield from map(_line_text, lines)
    rest = [draft.path(each) for each in draft.profile.fields.values() if each.names not in draft.used]
    if rest:
        yield f"\n# Nothing reads: {', '.join(rest)}\n"


def _line_text(line: Line) -> str:
    comment = " ".join(line.comment.split())
    return f"{line.text}  # {comment}\n" if comment else f"{line.text}\n"
