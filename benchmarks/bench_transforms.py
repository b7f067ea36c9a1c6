"""Values through a contract: 50 mappings a record, beside a converter that was written by hand for the same output."""

import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal

from msgspec import UNSET

from benchmarks.measurement import BASELINE, PAGEFOLD, Line, Side, Timed, interleave, ratio, spreads
from benchmarks.run_settings import Bench
from benchmarks.throwaway_stores import SQLiteStores, Stores
from pagefold.projections.transforms import BUILTIN_REGISTRY, ColumnScope, Compiler, ValueType, text_table

RECORDS = 4_000
PIECES = 4
COLORS = {f"c{number}": f"Color {number}" for number in range(500)}
LOOKUPS, TEXTS, FLAGS, COUNTS = range(10), range(15), range(4), range(4)
LOCALIZED, COMPUTED, PRICES, LISTS = range(5), range(5), range(3), range(2)

Convert = Callable[[dict[str, str]], dict[str, object]]


def record(number: int) -> dict[str, str]:
    """A row of a CSV file. Some cells are blank."""
    columns = {"brand": "Nord", "name": f"Tee {number}", "weight": " 1,25 "}
    columns["date"] = f"2026-01-{number % 28 + 1:02}T10:00:{number % 60:02}+01:00"
    columns |= {f"look{n}": f"c{(number * 7 + n) % 500}" for n in LOOKUPS}
    columns |= {f"loc{n}_de": f"Hemd {number}" for n in LOCALIZED}
    columns |= {f"loc{n}_en": f"Shirt {number}" if number % 3 else "" for n in LOCALIZED}
    columns |= {f"size{n}": f"S{n}" for n in COMPUTED}
    columns |= {f"price{n}": f"{number % 400 + n}.9" for n in PRICES}
    columns |= {f"text{n}": f"text {number} {n}" if (number + n) % 5 else "" for n in TEXTS}
    columns |= {f"count{n}": str(number % 100 + n) for n in COUNTS}
    columns |= {f"flag{n}": "1" if number % 2 else "0" for n in FLAGS}
    return columns | {f"list{n}": "a, b,c" for n in LISTS}


def mappings() -> dict[str, tuple[object, ValueType]]:
    """The 50 mappings of the contract, with the types of their targets."""
    any_type, integer = ValueType.ANYTHING, ValueType.INTEGER
    found: dict[str, tuple[object, ValueType]] = {
        "weight": ({"from": "weight", "steps": ["trim", {"decimal": {"decimal": ","}}]}, any_type),
        "date": ("date", ValueType.TIMESTAMP),
    }
    found |= {f"look{n}": ({"from": f"look{n}", "lookup": "colors"}, any_type) for n in LOOKUPS}
    texts = [{"de": f"loc{n}_de", "en": f"loc{n}_en"} for n in LOCALIZED]
    found |= {f"loc{n}": ({"locale_columns": {"texts": texts[n]}}, any_type) for n in LOCALIZED}
    found |= {
        f"computed{n}": ({"computed": f"{{{{ brand }}}} {{{{ name }}}} ({{{{ size{n} }}}})"}, any_type)
        for n in COMPUTED
    }
    found |= {f"price{n}": ({"from": f"price{n}", "money": "EUR"}, ValueType.DECIMAL) for n in PRICES}
    found |= {f"text{n}": (f"text{n}", any_type) for n in TEXTS}
    found |= {f"count{n}": (f"count{n}", integer) for n in COUNTS}
    found |= {f"flag{n}": (f"flag{n}", ValueType.BOOLEAN) for n in FLAGS}
    return found | {f"list{n}": ({"from": f"list{n}", "split": ","}, any_type) for n in LISTS}


def contract() -> Convert:
    """The converter that a contract makes."""
    compiler = Compiler(BUILTIN_REGISTRY, ColumnScope(), tables={"colors": text_table("colors", COLORS)})
    readers = [(name, compiler.mapping(spec, name, expects).read) for name, (spec, expects) in mappings().items()]

    def convert(columns: dict[str, str]) -> dict[str, object]:
        made: dict[str, object] = {}
        for name, read in readers:
            value = read(columns)
            if value is not UNSET:
                made[name] = value
        return made

    return convert


def by_hand(columns: dict[str, str]) -> dict[str, object]:
    """The same, as a careful programmer writes it for these columns alone."""
    made: dict[str, object] = {}
    for name in _LOOKED_UP:
        if (text := columns.get(name, "").strip()) and (label := COLORS.get(text)) is not None:
            made[name] = label
    for name, german, english in _LOCALIZED:
        texts = {tag: columns[key] for tag, key in (("de", german), ("en", english)) if columns.get(key, "").strip()}
        if texts:
            made[name] = texts
    brand, title = columns.get("brand"), columns.get("name")
    for name, key in _COMPUTED:
        if brand and title and (size := columns.get(key)):
            made[name] = f"{brand} {title} ({size})"
    for name in _PLAIN:
        if (text := columns.get(name, "")) and not text.isspace():
            made[name] = text
    _numbers_by_hand(columns, made)
    return made


def _numbers_by_hand(columns: Mapping[str, str], made: dict[str, object]) -> None:
    for name in _PRICES:
        if text := columns.get(name, "").strip():
            made[name] = str(_positive(Decimal(text)).quantize(Decimal("0.01")))
    for name in _COUNTS:
        if text := columns.get(name, "").strip():
            made[name] = int(text)
    for name in _FLAGS:
        if text := columns.get(name, "").strip().lower():
            made[name] = {"1": True, "true": True, "0": False, "false": False}[text]
    for name in _LISTS:
        if text := columns.get(name, ""):
            made[name] = [part for each in text.split(",") if (part := each.strip())]
    _others_by_hand(columns, made)


def _others_by_hand(columns: Mapping[str, str], made: dict[str, object]) -> None:
    if text := columns.get("weight", "").strip():
        made["weight"] = f"{Decimal(text.replace(',', '.')).normalize():f}"
    if text := columns.get("date", "").strip():
        made["date"] = datetime.fromisoformat(text).astimezone(UTC).isoformat().replace("+00:00", "Z")


def _positive(number: Decimal) -> Decimal:
    if number < 0:
        raise ValueError(number)
    return number


_LOOKED_UP = [f"look{n}" for n in LOOKUPS]
_LOCALIZED = [(f"loc{n}", f"loc{n}_de", f"loc{n}_en") for n in LOCALIZED]
_COMPUTED = [(f"computed{n}", f"size{n}") for n in COMPUTED]
_PLAIN = [f"text{n}" for n in TEXTS]
_PRICES, _COUNTS, _FLAGS, _LISTS = (
    [f"{name}{n}" for n in numbers]
    for name, numbers in (("price", PRICES), ("count", COUNTS), ("flag", FLAGS), ("list", LISTS))
)


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """Records a second through 50 mappings: 10 lookups, 5 localized, 5 computed, 3 amounts. No store is used."""
    if not isinstance(stores, SQLiteStores):
        return []
    records = [record(number) for number in range(RECORDS // (10 if bench.quick else 1))]
    made = contract()
    assert all(made(each) == by_hand(each) for each in records[:100])
    sides = [Side(name, _timed(records, convert)) for name, convert in ((PAGEFOLD, made), (BASELINE, by_hand))]
    rates = await interleave(sides, bench.rounds, PIECES)
    claims = [ratio(rates, PAGEFOLD, BASELINE, at_least=0.5, what="× a converter written by hand")]
    return [Line("values by 50 mappings", "sqlite", len(records), "records/s", spreads(rates), claims)]


def _timed(records: list[dict[str, str]], convert: Convert) -> Callable[[], Awaitable[Timed]]:
    async def run() -> Timed:
        begin = time.process_time()
        for each in records:
            convert(each)
        return Timed(time.process_time() - begin, len(records))

    return run
