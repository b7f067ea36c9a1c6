"""What real systems send, value by value: the forms of the cases that users reported, with data of our own."""

from decimal import Decimal

import pytest
from msgspec import UNSET

from pagefold.projections.transforms import WITHDRAW, ColumnScope, RateTable, Scope, text_table
from pagefold.projections.transforms.value_types import ValueType
from tests.support.transform_fixtures import made, refusal

LABELS = text_table("finish", {"oak": {"de-DE": "", "nb_NO": "Eik"}, "ash": {"de-DE": "Esche", "nb_NO": "Ask"}})
TREE = text_table("tree", {"root": "", "lamps": "root", "desk_lamps": "lamps", "print": None, "print_lamps": "print"})
COLUMNS = ColumnScope()

CENTS = {
    "from": "tiers",
    "each": {
        "members": {
            "minQuantity": {"from": "minimumQuantity", "integer": True},
            "amount": {
                "from": "value.centAmount",
                "money": {
                    "currency": {"from": "value.currencyCode"},
                    "unit": "minor",
                    "digits": {"from": "value.fractionDigits"},
                },
            },
        }
    },
}
PICTURES = {
    "concat": [
        {"from": "base_image", "each": {"members": {"url": ".", "role": {"constant": "main"}}}},
        {
            "from": "additional_images",
            "steps": [{"split": ","}, {"each": {"members": {"url": ".", "role": {"constant": "gallery"}}}}],
        },
    ],
    "steps": [
        {"each": {"members": {"url": {"from": "url", "affix": "https://cdn.example"}, "role": "role"}}},
        {"unique": "url"},
        "enumerate",
    ],
}
AKENEO = [
    {"locale": "sv_SE", "scope": "shop", "data": "Varm"},
    {"locale": "sv_SE", "scope": "print", "data": "Varm, 100 %"},
    {"locale": "en_GB", "scope": None, "data": "Warm"},
]

CASES: dict[str, tuple[object, object, object, Scope | None, ValueType]] = {
    "nested path": (
        "master.current.name",
        {"master": {"current": {"name": {"en": "Lamp"}}}},
        {"en": "Lamp"},
        None,
        ValueType.LOCALIZED,
    ),
    "blank price withdraws": (
        {"from": "price-NOK", "money": "NOK", "blank": "withdraw"},
        {"price-NOK": ""},
        WITHDRAW,
        COLUMNS,
        ValueType.DECIMAL,
    ),
    "blank translation": (
        {"locale_columns": {"texts": {"sv": "name_sv", "en": "name_en"}}},
        {"name_sv": " ", "name_en": "Lamp"},
        {"en": "Lamp"},
        COLUMNS,
        ValueType.LOCALIZED,
    ),
    "underscores": (
        "labels",
        {"labels": {"sv_SE": "Lampa", "pt-br": "Luz"}},
        {"sv-SE": "Lampa", "pt-BR": "Luz"},
        None,
        ValueType.LOCALIZED,
    ),
    "free stock": (
        {"difference": ["quantity", "allocated"]},
        {"quantity": 61, "allocated": "4.0"},
        57,
        None,
        ValueType.INTEGER,
    ),
    "uncounted stock": ({"from": "available", "blank": "null"}, {"available": None}, None, None, ValueType.INTEGER),
    "columns by locale and scope": (
        {"locale_columns": "text-{locale}-shop"},
        {"text-sv_SE-shop": "Varm", "text-sv_SE-print": "x", "text": "y"},
        {"sv-SE": "Varm"},
        COLUMNS,
        ValueType.LOCALIZED,
    ),
    "list by locale and scope": (
        {"from": "values.text", "localized": {"scope": "shop"}},
        {"values": {"text": AKENEO}},
        {"en-GB": "Warm", "sv-SE": "Varm"},
        None,
        ValueType.LOCALIZED,
    ),
    "metric column": (
        {"from": "length", "metric": {"unit": {"from": "length-unit"}}},
        {"length": "42.50", "length-unit": "CENTIMETER"},
        {"amount": "42.5", "unit": "CENTIMETER"},
        COLUMNS,
        ValueType.METRIC,
    ),
    "option label": (
        {"from": "finish", "translate": {"table": "finish", "keep": True}},
        {"finish": "oak"},
        {"de-DE": "oak", "nb-NO": "Eik"},
        COLUMNS,
        ValueType.LOCALIZED,
    ),
    "option labels": (
        {"from": "f", "steps": [{"split": ","}, {"translate": {"table": "finish", "separator": " / "}}]},
        {"f": "ash,oak"},
        {"de-DE": "Esche", "nb-NO": "Ask / Eik"},
        COLUMNS,
        ValueType.LOCALIZED,
    ),
    "tags": ({"from": "tags", "split": ","}, {"tags": "desk, led , "}, ["desk", "led"], COLUMNS, ValueType.LIST),
    "category tree": (
        {"from": "c", "steps": [{"split": ","}, {"ancestors": {"table": "tree", "root": "root"}}]},
        {"c": "desk_lamps,print_lamps"},
        [["root", "lamps", "desk_lamps"]],
        COLUMNS,
        ValueType.LIST,
    ),
    "paths of pictures": (
        PICTURES,
        {"base_image": "/a.jpg", "additional_images": "/a.jpg,/b.jpg"},
        [
            {"url": "https://cdn.example/a.jpg", "role": "main", "position": 0},
            {"url": "https://cdn.example/b.jpg", "role": "gallery", "position": 1},
        ],
        COLUMNS,
        ValueType.LIST,
    ),
    "objects with other names": (
        {"from": "images", "each": {"members": {"url": "src", "alt": {"from": "alt", "localized": "nb"}}}},
        {"images": [{"id": 7, "src": "z.jpg", "alt": "Foran"}, {"id": 8, "src": "a.jpg", "alt": ""}]},
        [{"url": "z.jpg", "alt": {"nb": "Foran"}}, {"url": "a.jpg"}],
        None,
        ValueType.LIST,
    ),
    "key from a column": (
        {"key_value": {"pairs": [["o1", "v1"], ["o2", "v2"]], "key_case": "lower"}},
        {"o1": "Shade", "v1": "Linen", "o2": "", "v2": "x"},
        {"shade": "Linen"},
        COLUMNS,
        ValueType.OBJECT,
    ),
    "pairs with commas inside": (
        {"from": "more", "parse_pairs": {}},
        {"more": "shade=Linen,care=Dust, do not wash,watts=9"},
        {"shade": "Linen", "care": "Dust, do not wash", "watts": "9"},
        COLUMNS,
        ValueType.OBJECT,
    ),
    "cents in tiers": (
        CENTS,
        {"tiers": [{"minimumQuantity": 6, "value": {"currencyCode": "NOK", "centAmount": 49950, "fractionDigits": 2}}]},
        [{"minQuantity": 6, "amount": "499.50"}],
        None,
        ValueType.LIST,
    ),
    "high precision": (
        {"from": "p", "money": {"currency": "EUR", "unit": "minor", "digits": {"from": "d"}}},
        {"p": 1249050, "d": 4},
        "124.905",
        None,
        ValueType.DECIMAL,
    ),
    "least, rounded": (
        {"least": ["price", "sale"], "steps": [{"money": {"currency": {"from": "cur"}, "round": True}}]},
        {"price": "89.000", "sale": "79.000", "cur": "SEK"},
        "79.00",
        None,
        ValueType.DECIMAL,
    ),
    "crossed out": (
        {"when": {"value": "price", "above": "sale", "then": "price"}, "steps": [{"money": "SEK"}]},
        {"price": "89.000", "sale": "79.000"},
        "89.00",
        None,
        ValueType.DECIMAL,
    ),
    "not crossed out": (
        {"when": {"value": "price", "above": "sale", "then": "price"}, "steps": [{"money": "SEK"}]},
        {"price": "79.0", "sale": "79.000"},
        UNSET,
        None,
        ValueType.DECIMAL,
    ),
    "id in a gid": (
        {"from": "id", "regex": "([0-9]+)(?:[?].*)?$"},
        {"id": "gid://shopify/InventoryItem/81?x=1"},
        "81",
        None,
        ValueType.TEXT,
    ),
    "status is a number": (
        {"when": {"value": "status", "one_of": [2], "then": {"constant": False}, "otherwise": {"constant": True}}},
        {"status": 1},
        True,
        None,
        ValueType.BOOLEAN,
    ),
    "moment without offset": (
        {"from": "m", "date": {"zone": "Europe/Oslo"}},
        {"m": "2026-06-01 08:30:00"},
        "2026-06-01T06:30:00Z",
        COLUMNS,
        ValueType.TIMESTAMP,
    ),
    "postgres offset": ("m", {"m": "2026-06-01 08:30:00+00"}, "2026-06-01T08:30:00Z", COLUMNS, ValueType.TIMESTAMP),
    "open end": ("until", {"until": "infinity"}, UNSET, COLUMNS, ValueType.TIMESTAMP),
    "json number as money": ({"from": "p", "money": "EUR"}, {"p": Decimal("29.90")}, "29.90", None, ValueType.DECIMAL),
    "float that is an integer": ("q", {"q": Decimal("7.0")}, 7, None, ValueType.INTEGER),
    "tinyint": ("e", {"e": 1}, True, None, ValueType.BOOLEAN),
    "no zero before the point": ({"from": "p", "money": "EUR"}, {"p": ".95"}, "0.95", COLUMNS, ValueType.DECIMAL),
    "decimal comma": (
        {"from": "p", "money": {"currency": "EUR", "decimal": ",", "group": "."}},
        {"p": "1.029,90"},
        "1029.90",
        COLUMNS,
        ValueType.DECIMAL,
    ),
    "padded": ({"from": "sku", "trim": True}, {"sku": "LAMP-1    "}, "LAMP-1", COLUMNS, ValueType.TEXT),
    "array in a cell": ("images", {"images": '["a.jpg", "b.jpg"]'}, ["a.jpg", "b.jpg"], COLUMNS, ValueType.LIST),
    "texts in a cell": (
        "name",
        {"name": '{"nb_NO": "Lampe", "sv": null}'},
        {"nb-NO": "Lampe"},
        COLUMNS,
        ValueType.LOCALIZED,
    ),
    "price of another currency": (
        {"from": "p", "currency": {"to": "NOK", "currency": "EUR", "rates": "ecb", "day": "d", "result": "amount"}},
        {"p": "10.00", "d": "2026-05-03T23:30:00+02:00"},
        "117.50",
        None,
        ValueType.DECIMAL,
    ),
    "markup": (
        {"from": "d", "html_to_text": True},
        {"d": "<p>Varm &amp; <em>lys</em></p>"},
        "Varm & lys",
        None,
        ValueType.TEXT,
    ),
    "a feed's list": (
        {"from": "c", "multi_to_csv": ","},
        {"c": ["grey", "black, matt"]},
        'grey,"black, matt"',
        None,
        ValueType.TEXT,
    ),
    "a title": (
        {
            "computed": {"template": "{{ brand }} {{ name }}{{ ', ' ~ size if size is defined }}"},
            "steps": [{"truncate": 20}],
        },
        {"brand": "Nordlys", "name": "Bordlampe Eik", "size": None},
        "Nordlys Bordlampe…",
        None,
        ValueType.TEXT,
    ),
}


@pytest.mark.parametrize(("spec", "record", "result", "scope", "expects"), CASES.values(), ids=CASES)
def test_a_case_by_configuration_alone(
    spec: object, record: object, result: object, scope: Scope | None, expects: ValueType
) -> None:
    """One mapping, no program in between."""
    rates = {"ecb": RateTable("ecb", [("EUR", "NOK", "2026-05-02", "11.75"), ("EUR", "NOK", "2026-05-04", "12")])}
    value = made(spec, record, expects, scope=scope, tables={"finish": LABELS, "tree": TREE}, rates=rates)
    assert value == result
    assert type(value) is type(result)


def test_an_unknown_currency_never_becomes_an_amount() -> None:
    """A price whose currency the record lacks is refused, whatever the other records have."""
    spec = {"from": "p", "money": {"currency": {"from": "cur"}, "unit": "minor"}}
    assert made(spec, {"p": 990, "cur": "JPY"}) == "990"
    for cur in (None, "", "??", "EURO", 978):
        assert refusal(spec, {"p": 990, "cur": cur}).code == "unknown_currency"
