"""Which field of records is probably what: the SKU, the version, a price, by name and by the form of its values."""

import re
from collections.abc import Callable, Iterable, Mapping

from pagefold.engine.intake.contracts.record_profile import FieldProfile, RecordProfile

_word = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")

MOST = 0.5
"""The share of values that must be numbers: `n/a` among them makes no other field of a price."""

Rule = Callable[[RecordProfile, FieldProfile], bool]


def words_of(name: str) -> list[str]:
    """The words of a name, in lower case: `ITEM_NO` and `itemNo` have two."""
    return [word.lower() for word in _word.findall(name)]


def squashed(name: str) -> str:
    """A name without case and separators."""
    return "".join(words_of(name))


def _is_number(_profile: RecordProfile, each: FieldProfile) -> bool:
    return "number" in each.kinds or each.has_form("point", MOST) or each.has_form("comma", MOST)


def _is_integer(_profile: RecordProfile, each: FieldProfile) -> bool:
    return each.has_form("integer")


def _is_moment(_profile: RecordProfile, each: FieldProfile) -> bool:
    return each.has_form("date")


def _is_key(profile: RecordProfile, each: FieldProfile) -> bool:
    return profile.is_unique(each) and each.kinds <= {"text", "number"}


def _is_text(_profile: RecordProfile, each: FieldProfile) -> bool:
    return each.kinds == {"text"}


def _is_flag(_profile: RecordProfile, each: FieldProfile) -> bool:
    return each.kinds == {"boolean"} or each.has_form("boolean") or set(map(str, each.values)) <= {"0", "1"}


def _is_image(_profile: RecordProfile, each: FieldProfile) -> bool:
    return bool(each.kinds & {"text", "list"})


def _is_list_or_text(_profile: RecordProfile, each: FieldProfile) -> bool:
    return each.kinds <= {"text", "list"} and each.members is None


ROLES: Mapping[str, tuple[str, Rule]] = {
    "sku": (
        (
            "sku variantsku productsku articlenumber articleno artikelnummer artikelnr itemnumber itemno itemid item "
            "article materialnumber productnumber productcode partnumber identifier code productid id gtin ean"
        ),
        _is_key,
    ),
    "sourceVersion": ("version sourceversion revision rev lockversion rowversion sequence seq", _is_integer),
    "moment": (
        (
            "updatedat updated modifiedat modified lastmodified lastmodifiedat changedat changed changedon lastchange "
            "lastchanged updatedon dateupdated datemodified modificationdate updatetime timestamp geaendert"
        ),
        _is_moment,
    ),
    "amount": (
        "price amount sellingprice saleprice unitprice grossprice netprice listprice preis verkaufspreis vk",
        _is_number,
    ),
    "compareAt": (
        "compareatprice compareat oldprice wasprice rrp msrp uvp strikeprice regularprice",
        _is_number,
    ),
    "currency": ("currency currencycode pricecurrency waehrung", _is_text),
    "available": (
        "available availableqty stock stocklevel stockqty quantity qty onhand inventory inventoryquantity bestand",
        _is_number,
    ),
    "safetyStock": ("safetystock minstock reservestock mindestbestand", _is_number),
    "family": ("family productfamily producttype attributeset", _is_text),
    "parent": ("parent parentsku parentid parentcode mastersku", _is_text),
    "categories": ("categories category categorycodes", _is_list_or_text),
    "enabled": ("enabled active isactive published ispublished", _is_flag),
    "gtin": ("gtin ean ean13 barcode upc", lambda _profile, each: each.has_form("gtin")),
    "assets": (
        "images imageurls image imageurl picture pictures picturelinks photo photos media mainimage thumbnail",
        _is_image,
    ),
}
"""By role, names without case and separators, the likeliest first, and what the values must be like."""


def field_for(
    role: str, profile: RecordProfile, taken: Iterable[tuple[str, ...]] = (), *, by_name: bool = False
) -> FieldProfile | None:
    """The field that probably has a role, by the rank of its name; the outermost first. None if none fits.

    With `by_name`, its values need not fit.
    """
    text, fits = ROLES[role]
    names, used = text.split(), set(taken)
    found = [
        (names.index(squashed(each.name)), len(each.names), number, each)
        for number, each in enumerate(profile.fields.values())
        if each.names not in used and each.kinds and squashed(each.name) in names and (by_name or fits(profile, each))
    ]
    return min(found)[-1] if found else None
