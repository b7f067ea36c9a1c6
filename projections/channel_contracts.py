"""Channel contracts: which attributes a channel shows, under which names, made by which transforms. Pure.

A contract is a versioned document. Its mappings are those of the contracts of sources; the record that they read is the
attributes of a product, with texts in the channel's language.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from pagefold.domains.channel_view import ShownProduct
from pagefold.domains.fold_trace import FoldTrace, Path
from pagefold.domains.locales import with_general_forms
from pagefold.projections.category_trees import PlacedCategories
from pagefold.projections.transforms import (
    Compiler,
    InvalidMapping,
    InvalidValue,
    LookupTable,
    NestedScope,
    Registry,
    ValueType,
    text_table,
)
from pagefold.projections.transforms import Mapping as CompiledMapping
from pagefold.projections.transforms.paths import Reader, path_names
from pagefold.projections.transforms.transform import Level

FACTS = ("@family", "@parent", "@categories", "@locale", "@paths", "@breadcrumb")
"""Paths of what a mapping may read beside attributes.

The other fields of the product as it was folded, the channel's locale, and where its tree has the categories.
"""

SOURCE_POLICIES = ("withdraw", "refuse")
"""What becomes of a blank value where a statement is made, and not in a channel."""

LOOK_UP = frozenset({"lookup", "translate"})
"""Transforms that are given the same few texts again and again, and make the same of them."""

MAX_REMEMBERED, MAX_REMEMBERED_LENGTH = 1_000, 200
"""How many texts an attribute remembers, and how long they may be."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Spec: TypeAlias = str | dict[str, object]


class TableRows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table that mappings look values up in: values, or texts by locale, by key."""

    rows: dict[str, object]
    ignore_case: bool = False


class ExampleProduct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A product as it was folded, with texts in the channel's language."""

    attributes: dict[str, object] = {}
    categories: list[str] = []
    family: str | None = None
    parent: str | None = None


class ExpectedProduct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a channel must show of it. Only what is named is compared."""

    attributes: dict[str, object] | UnsetType = UNSET
    categories: list[object] | UnsetType = UNSET
    family: str | UnsetType | None = UNSET
    parent: str | UnsetType | None = UNSET
    unmapped: list[str] | UnsetType = UNSET


class ChannelExample(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"in_": "in"}):
    """A product (`in`) and what a channel shows of it (`out`); `locale` is that of the channel, if it matters."""

    in_: ExampleProduct
    out: ExpectedProduct
    locale: Annotated[str, msgspec.Meta(max_length=64)] = ""


class FieldMappings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The mappings of the other fields of a product."""

    categories: Spec | None = None
    family: Spec | None = None
    parent: Spec | None = None


class ChannelContract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A channel contract as it is written, with the rows of its tables in it."""

    name: Annotated[
        str, msgspec.Meta(max_length=100, description="its name: without it, that of the file or of the channel")
    ] = ""
    attributes: Annotated[
        dict[Name, Spec], msgspec.Meta(description="the attributes that the channel shows, and the mapping of each")
    ] = {}
    fields: Annotated[
        FieldMappings,
        msgspec.Meta(
            description="the mappings of `categories`, `family` and `parent`; without one, they are shown as they are"
        ),
    ] = FieldMappings()
    version: Annotated[int, msgspec.Meta(ge=1, description="the version, which pages name")] = 1
    others: Annotated[
        Literal["drop", "keep"],
        msgspec.Meta(
            description="what becomes of attributes that no mapping reads: they are left out, or shown as they are"
        ),
    ] = "drop"
    unmapped: Annotated[
        Level,
        msgspec.Meta(
            description="what becomes of a value that a table does not have, or a transform refuses: the attribute is "
            "left out; with `warn`, the section lists it in `unmapped`; with `fail`, the catalog is not ready, too"
        ),
    ] = "warn"
    decimal: Annotated[str | None, msgspec.Meta(description="the separator of decimals in numbers that are text")] = (
        None
    )
    group: Annotated[str | None, msgspec.Meta(description="their separator of thousands")] = None
    zone: Annotated[str | None, msgspec.Meta(description="the zone of moments that are written without an offset")] = (
        None
    )
    definitions: Annotated[dict[str, Spec], msgspec.Meta(description="expressions that mappings `use` by name")] = {}
    tables: Annotated[
        dict[str, TableRows],
        msgspec.Meta(
            description="tables for `lookup` and `translate`: `rows`, or a CSV `file` beside the contract with its "
            "`key` column and either a `value` column or `values`, columns of texts by locale"
        ),
    ] = {}

    examples: Annotated[
        list[ChannelExample],
        msgspec.Meta(description="products (`in`), and what the channel must show of them (`out`); see below"),
    ] = []

    @property
    def identity(self) -> str:
        """Its name and version, such as `web@2`."""
        return f"{self.name}@{self.version}"


class _Attribute(NamedTuple):
    """One attribute that the channel shows.

    `read` refuses what cannot be mapped, `read_rest` makes what it can of the rest. `codes` are the attributes of the
    product that it reads, `facts` the same of `FACTS`; `renames` is the attribute that it shows as it is, if it does
    nothing else. `path` is its place in the section.
    """

    name: str
    read: Reader
    read_rest: Reader
    is_localized: bool
    codes: tuple[str, ...]
    facts: tuple[str, ...]
    renames: str | None
    path: Path


class MappedProduct(NamedTuple):
    """A product as a contract shows it.

    `foreign` are the attributes with a text that is not in the channel's own language; `unmapped` have a value that
    cannot be mapped.
    """

    product: ShownProduct
    foreign: set[str]
    unmapped: list[str]


class CompiledContract:
    """A channel contract, compiled for a channel with these locales.

    `named` are the attributes that it makes or reads.
    """

    def __init__(self, document: ChannelContract, locales: Sequence[str], registry: Registry) -> None:
        """Raises `InvalidMapping`, with the place."""
        self.identity = document.identity
        self.level = document.unmapped
        self._locales = tuple(locales)
        self._own = frozenset(with_general_forms(locales[0]))
        self._keeps_others = document.others == "keep"
        self._facts: set[str] = set()
        self._tables = {name: _table(name, each) for name, each in document.tables.items()}
        self._document = document
        self._registry = registry
        attributes = [self._compiled("attributes", name, spec) for name, spec in document.attributes.items()]
        fields = msgspec.structs.asdict(document.fields)
        self._fields = [self._compiled("fields", name, spec) for name, spec in fields.items() if spec is not None]
        self._by_name = {each.name: each for each in attributes}
        self._renamed = [(each.name, each.renames, each) for each in attributes if each.renames is not None]
        self._made = [each for each in attributes if each.renames is None]
        codes = (code for each in [*attributes, *self._fields] for code in each.codes)
        self.named = frozenset([*self._by_name, *codes])
        self._names_of: dict[str, list[str]] = {}
        for each in attributes:
            for code in each.codes:
                self._names_of.setdefault(code, []).append(each.name)

    @property
    def reads(self) -> dict[str, tuple[str, ...]]:
        """By attribute or field that it makes, the attributes that it reads for it."""
        return {each.name: each.codes for each in [*self._fields, *self._by_name.values()]}

    def applied(
        self,
        product: ShownProduct,
        foreign: set[str],
        placed: PlacedCategories | None = None,
        trace: FoldTrace | None = None,
    ) -> MappedProduct:
        """The product under the channel's names. Raises nothing.

        `foreign` are the attributes that show a text in a language that is not the channel's own; `placed` is where the
        tree of the channel has the product's categories, if it has a tree.
        """
        record = self._record(product, placed)
        shown: dict[str, object] = {}
        unmapped: list[str] = []
        shown_foreign = self._foreign(foreign) if foreign else set()
        self._read([*self._made, *self._rename(record, shown)], record, shown, unmapped, shown_foreign, trace)
        if self._keeps_others:
            named = self.named
            shown |= {code: value for code, value in product.attributes.items() if code not in named}
        categories = product.categories if placed is None else placed.paths
        mapped = ShownProduct(shown, categories, product.family, product.parent, self.identity)
        if trace is not None:
            self._explain(shown, unmapped, trace)
        if self._fields:
            self._map_fields(mapped, record, unmapped, trace)
        return MappedProduct(mapped, shown_foreign, unmapped)

    def _read(  # what it reads, and what it adds to
        self,
        attributes: Sequence[_Attribute],
        record: Mapping[str, object],
        shown: dict[str, object],
        unmapped: list[str],
        foreign: set[str],
        trace: FoldTrace | None,
    ) -> None:
        """Adds what the mappings of attributes make of a product to the last three."""
        for attribute in attributes:
            name, read, read_rest, is_localized = attribute[:4]
            try:
                value = read(record)
            except Exception as error:  # noqa: BLE001  # a transform of a shop's own may raise anything
                unmapped.append(name)
                if trace is not None:
                    trace.lack(attribute.path, "unmapped", str(error))
                value = _rest(read_rest, record)
            if is_localized and type(value) is dict:
                locale = next(filter(value.__contains__, self._locales), "")
                value = value.get(locale, UNSET)
                if locale not in self._own:
                    foreign.add(name)
            if value is not UNSET:
                shown[name] = value

    def _map_fields(
        self, product: ShownProduct, record: Mapping[str, object], unmapped: list[str], trace: FoldTrace | None
    ) -> None:
        """Shows the fields that have a mapping as that makes them."""
        made: dict[str, object] = {}
        self._read(self._fields, record, made, unmapped, set(), trace)
        for name, *_ in self._fields:
            value = made.get(name)
            if name == "categories":
                listed = value if isinstance(value, list) else [] if value is None else [value]
                product.categories = [each for each in listed if _is_category(each)]
                is_mapped = len(product.categories) == len(listed)
            else:
                is_mapped = value is None or isinstance(value, str)
                setattr(product, name, value if is_mapped else None)
            if not is_mapped and name not in unmapped:
                unmapped.append(name)
                if trace is not None:
                    trace.lack((name,), "unmapped", "the mapping makes no text of it")

    def _explain(self, shown: Mapping[str, object], unmapped: Collection[str], trace: FoldTrace) -> None:
        """What each attribute and field is made of; one that no mapping reads is shown as it is."""
        made: dict[Path, tuple[Collection[str], str]] = {("attributes", name): ((name,), "") for name in shown}
        document = self._document
        for each in self._by_name.values():
            made[each.path] = ((*each.codes, *each.facts), written_mapping(document.attributes[each.name]))
            if each.name not in shown and each.name not in unmapped:
                trace.lack(each.path, "nothing-to-map", ", ".join(made[each.path][0]))
        for each in self._fields:
            made[each.path] = ((*each.codes, *each.facts), written_mapping(getattr(document.fields, each.name)))
        trace.apply_contract(self.identity, made)

    def _rename(self, record: Mapping[str, object], shown: dict[str, object]) -> list[_Attribute]:
        """Shows attributes that are only renamed. Returns those that need more: numbers with fractions, lists, objects.

        It makes what the mapping would make of them, in a third of the time.
        """
        rest: list[_Attribute] = []
        for name, code, attribute in self._renamed:
            value = record.get(code)
            kind = type(value)
            if kind is str:
                if value and not value.isspace():  # type: ignore[attr-defined]  # it is text
                    shown[name] = value
            elif kind is int or kind is bool:
                shown[name] = value
            elif value is not None:
                rest.append(attribute)
        return rest

    def _record(self, product: ShownProduct, placed: PlacedCategories | None) -> dict[str, object]:
        if not self._facts:
            return product.attributes
        where = (None, None) if placed is None else (placed.paths, placed.breadcrumb)
        facts = (product.family, product.parent, product.categories, self._locales[0], *where)
        return product.attributes | dict(zip(FACTS, facts, strict=True))

    def _foreign(self, codes: set[str]) -> set[str]:
        """The attributes that are made of foreign texts."""
        made = {name for code in codes for name in self._names_of.get(code, ())}
        return made | (codes - self.named) if self._keeps_others else made

    def _compiled(self, table: str, name: str, spec: Spec) -> _Attribute:
        key = f"{table}.{name}"
        if isinstance(spec, dict) and ("required" in spec or spec.get("blank") in SOURCE_POLICIES):
            place = f"{key}.{'required' if 'required' in spec else 'blank'}"
            raise InvalidMapping(place, "a requirement set of the channel says what must be there")
        facts: dict[str, None] = {}
        strict = self._mapping(spec, key, "skip" if self.level == "skip" else "fail", facts)
        lenient = self._mapping(spec, key, "skip", facts)
        self._facts.update(facts)
        names = [path_names(path, key) for path in sorted(strict.paths)]
        codes = tuple(dict.fromkeys(each[0] for each in names if each))
        is_path = isinstance(spec, str) or spec.keys() == {"from"}
        is_one_code = list(map(len, names)) == [1]
        renames = codes[0] if is_path and is_one_code else None
        is_looked_up = is_one_code and not facts and isinstance(spec, dict) and not LOOK_UP.isdisjoint(spec)
        read = _remembering(strict.read, codes[0]) if is_looked_up else strict.read
        is_localized = strict.output is ValueType.LOCALIZED
        path: Path = (name,) if table == "fields" else (table, name)
        return _Attribute(name, read, lenient.read, is_localized, codes, tuple(facts), renames, path)

    def _mapping(self, spec: Spec, key: str, lookups: Level, facts: dict[str, None]) -> CompiledMapping:
        """A mapping in which a lookup without a result is an error, or left out. Adds the `facts` that it reads."""

        def fact(path: str) -> Reader | None:
            if not path.startswith("@"):
                return None
            if path not in FACTS:
                raise InvalidMapping(key, f"there is no {path!r:.40}; there are {', '.join(FACTS)}")
            facts[path] = None
            return NestedScope().reader(path, key)

        document = self._document
        separators = {"decimal": document.decimal, "group": document.group}
        given = {name: value for name, value in separators.items() if value is not None}
        numbers = dict.fromkeys((ValueType.INTEGER, ValueType.NUMBER, ValueType.DECIMAL), given)
        zone = {} if document.zone is None else {"zone": document.zone}
        return Compiler(
            self._registry,
            NestedScope(),
            tables=self._tables,
            definitions=document.definitions,
            conversions={**numbers, ValueType.TIMESTAMP: zone},
            unmapped={"lookup": lookups, "locale": "skip"},
            facts=fact,
        ).mapping(spec, key)


def written_mapping(spec: Spec) -> str:
    """A mapping as its contract has it, on one line."""
    return spec if isinstance(spec, str) else msgspec.json.encode(spec).decode()


def parse_contract(document: Mapping[str, object]) -> ChannelContract:
    """A channel contract, without compiling its mappings. Raises `InvalidMapping` with the place."""
    try:
        return msgspec.convert(document, ChannelContract)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        raise InvalidMapping(place.removesuffix("`").lstrip("."), problem[:1].lower() + problem[1:]) from None


def _is_category(value: object) -> bool:
    """Whether a value is a category, or a path of categories."""
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value))


def _remembering(read: Reader, code: str) -> Reader:
    """The reader of one attribute, which remembers what it makes of texts."""
    made: dict[str, object] = {}

    def remembered(record: object) -> object:
        text = record.get(code)  # type: ignore[attr-defined]  # it is a product's attributes
        if type(text) is not str or len(text) > MAX_REMEMBERED_LENGTH:
            return read(record)
        if text not in made:
            if len(made) >= MAX_REMEMBERED:
                made.clear()
            made[text] = read(record)
        return made[text]

    return remembered


def _rest(read: Reader, record: object) -> object:
    """What can be made of a value of which a part cannot be mapped."""
    try:
        return read(record)
    except Exception:  # noqa: BLE001  # likewise
        return UNSET


def _table(name: str, table: TableRows) -> LookupTable:
    try:
        return text_table(name, table.rows, ignore_case=table.ignore_case)
    except InvalidValue as error:
        raise InvalidMapping(f"tables.{name}", str(error)) from None
