"""Compiles what a contract says of a value, once, into a function that is applied to every record."""

from collections.abc import Callable, Sequence
from collections.abc import Mapping as MappingOf
from contextlib import AbstractContextManager
from typing import NamedTuple, TypeVar, cast

from msgspec import UNSET

from pagefold.projections.transforms.errors import InvalidMapping
from pagefold.projections.transforms.mapping import BLANK_POLICIES, BlankPolicy, Ending, Mapping, finished, shortcut
from pagefold.projections.transforms.nulls import Nulls
from pagefold.projections.transforms.path_needs import PathNeeds
from pagefold.projections.transforms.paths import ROOT, ItemScope, Reader, Scope, of_item
from pagefold.projections.transforms.pipeline import Step, composed, named_reader
from pagefold.projections.transforms.registry import RESERVED, Registry
from pagefold.projections.transforms.rules import compile_rules
from pagefold.projections.transforms.tables import LookupTable, RateTable
from pagefold.projections.transforms.transform import (
    AnyTransform,
    Built,
    Expression,
    Level,
    Signal,
    check_parameters,
)
from pagefold.projections.transforms.value_types import ValueType, accepts, has_type, is_blank, to_json

_Table = TypeVar("_Table")

MAX_NESTING = 48
"""How deep expressions may be in one another."""

MAX_STEPS = 32
MAX_EXPRESSIONS = 100_000
"""How many expressions a contract may have once every definition is put in the places that use it."""

CONVERSIONS = {
    ValueType.TEXT: "text",
    ValueType.INTEGER: "integer",
    ValueType.NUMBER: "number",
    ValueType.DECIMAL: "decimal",
    ValueType.BOOLEAN: "boolean",
    ValueType.TIMESTAMP: "date",
    ValueType.LIST: "list",
    ValueType.OBJECT: "object",
    ValueType.LOCALIZED: "localized",
}
"""The transform that a target of a type brings with it, if the mapping's own last one has another type."""


NO_NULLS = Nulls()


def no_signal(_kind: str, _key: str, _value: str) -> None:
    """Drops what is not mapped."""


def no_facts(_path: str) -> Reader | None:
    """Every path is one of the record."""
    return None


class _Part(NamedTuple):
    """A compiled expression: what it reads, and the steps after that.

    Where a value may be a list, which only its record tells, `output` is anything, and `item` the type of one item.
    `source` is the transform that reads the record itself, if one does.
    """

    read: Reader
    steps: tuple[Step, ...]
    output: ValueType
    path: str = ""
    item: ValueType | None = None
    source: str = ""

    def reader(self) -> Reader:
        """The expression as one function."""
        return composed(named_reader(self.read, self.source) if self.source else self.read, self.steps)


class Compiler:
    """Compiles the mappings of one contract.

    `tables` and `rates` are shared by all of them. `definitions` are expressions that others `use` by name. `signal`
    receives what is not mapped (`lookup`, `locale`) while records are read; `unmapped` says what becomes of it, where a
    transform does not. `conversions` are the parameters with which a value is converted to the type of its target: a
    contract's zone for timestamps, its decimal separator for numbers. `nulls` are values that are blank, too, except
    where the target takes a boolean.
    `facts` gives the reader of a path that is not one of the record, but of what came with it.
    """

    def __init__(  # noqa: PLR0913  # what a contract has beside its mappings
        self,
        registry: Registry,
        scope: Scope,
        *,
        tables: MappingOf[str, LookupTable] | None = None,
        rates: MappingOf[str, RateTable] | None = None,
        definitions: MappingOf[str, Expression] | None = None,
        conversions: MappingOf[ValueType, MappingOf[str, object]] | None = None,
        signal: Signal = no_signal,
        unmapped: MappingOf[str, Level] | None = None,
        facts: Callable[[str], Reader | None] = no_facts,
        nulls: Nulls | None = None,
    ) -> None:
        self.registry = registry
        self.scope = scope
        self.signal = signal
        self.unmapped = unmapped or {}
        self.facts = facts
        self.conversions = conversions or {}
        self.tables = tables or {}
        self.rates = rates or {}
        self.definitions = definitions or {}
        self.paths: set[str] = set()
        self.patterns: set[str] = set()
        self.reads: set[str] = set()
        self.read_patterns: set[str] = set()
        self.needs = PathNeeds()
        self.open_definitions: list[str] = []
        self._nulls = NO_NULLS if nulls is None else nulls
        self.nulls = self._nulls
        self._expressions = 0

    def reader(self, path: str, key: str) -> Reader:
        """The reader of a path of the record, or of a fact. Raises `InvalidMapping`."""
        return self.facts(path) or self.scope.reader(path, key)

    def record_path(self, path: str) -> str | None:
        """A path as the record has it; None if it is inside an item, which belongs to the item's own path."""
        return _record_path(path, self.scope)

    def path_of_record(self, path: str) -> str:
        """The path, here, of what is at a path of the whole record: the inverse of `record_path`."""
        scope = self.scope
        while isinstance(scope, ItemScope):
            scope, path = scope.outer, f"{ROOT}.{path}"
        return path

    def mapping(
        self, spec: object, key: str, expects: ValueType = ValueType.ANYTHING, blank: BlankPolicy = "skip"
    ) -> Mapping:
        """Compiles a mapping: a path, or a table with a transform. Raises `InvalidMapping` with the place.

        A value that has not the expected type is converted to it, exactly, or refused. `blank` is what becomes of a
        blank value if the mapping does not say it.
        """
        self.paths, self.patterns = set(), set()
        self.reads, self.read_patterns, self.needs = set(), set(), PathNeeds()
        table = _as_table(spec, key)
        self.nulls = NO_NULLS if expects is ValueType.BOOLEAN or _makes_boolean(table) else self._nulls
        policy, default = _policy(table, key, blank)
        if default is not UNSET and not has_type(default, expects):
            raise InvalidMapping(f"{key}.default", f"is not of the type that the target has: {expects}")
        scope = self.scope.inner if isinstance(self.scope, ItemScope) and _reads_item_only(spec) else self.scope
        inside = scope is not self.scope
        site = _Site(self, scope, key, depth=0)
        part = _converted(site, _expression(site, table), expects)
        rules = table.get("check")
        check = None if rules is None else compile_rules(rules, f"{key}.check")
        loose = part.output in {ValueType.ANYTHING, ValueType.LIST, ValueType.OBJECT}
        ending = Ending(key, part.path, policy, default, check, to_json if loose else None)
        read = finished(part.read, part.steps, ending, part.source)
        may_lack = default is not UNSET or table.get("blank") in ("skip", "null")
        needed = frozenset() if may_lack else self.needs.groups
        nothing = frozenset[str]()
        outside = (nothing, nothing) if inside else (frozenset(self.paths), frozenset(self.patterns))
        return Mapping(
            key,
            of_item(read) if inside else read,
            part.output,
            *outside,
            frozenset(self.reads),
            frozenset(self.read_patterns),
            needed,
            own=read if inside else None,
            shortcut=shortcut(part.read, part.steps, ending),
        )

    def count_expression(self, key: str) -> None:
        """Counts an expression. Raises `InvalidMapping` beyond the limit."""
        self._expressions += 1
        if self._expressions > MAX_EXPRESSIONS:
            raise InvalidMapping(key, f"the contract has more than {MAX_EXPRESSIONS:,} expressions")


class _Site:
    """The place at which an expression or a transform is compiled: see `transform.Site`."""

    def __init__(self, compiler: Compiler, scope: Scope, key: str, *, depth: int) -> None:
        self.key = key
        self.scope = scope
        self.signal = compiler.signal
        self.unmapped = compiler.unmapped
        self._compiler = compiler
        self._depth = depth
        if depth > MAX_NESTING:
            raise InvalidMapping(key, f"is nested deeper than {MAX_NESTING} levels")

    @property
    def registry(self) -> Registry:
        """The transforms that there are."""
        return self._compiler.registry

    @property
    def conversions(self) -> MappingOf[ValueType, MappingOf[str, object]]:
        """The parameters of conversions to the types of targets."""
        return self._compiler.conversions

    @property
    def separators(self) -> MappingOf[str, object]:
        """The contract's separators of numbers, for each transform that has such parameters."""
        return self.conversions.get(ValueType.DECIMAL, {})

    def at(self, name: str, scope: Scope | None = None) -> "_Site":
        """A place within this one."""
        return _Site(self._compiler, scope or self.scope, f"{self.key}.{name}", depth=self._depth + 1)

    def read_path(self, path: str) -> Reader:
        """The reader of a path. Those of the record are remembered: what is in an item belongs to the item's path."""
        if (fact := self._compiler.facts(path)) is not None:
            return fact
        if (own := self._remember(path, self._compiler.paths, self._compiler.reads)) is not None:
            self._compiler.needs.add(own)
        return self._compiler.nulls.reader(self.scope.reader(path, self.key))

    def alternatives(self) -> AbstractContextManager[None]:
        """See `transform.Site`."""
        return self._compiler.needs.alternatives()

    def members(self, pattern: str, parameter: str) -> tuple[Reader, str]:
        """See `transform.Site`."""
        self._remember(pattern, self._compiler.patterns, self._compiler.read_patterns)
        return self.scope.members(pattern, f"{self.key}.{parameter}")

    def _remember(self, path: str, paths: set[str], reads: set[str]) -> str | None:
        """Notes a path in both forms. Returns it as the table has it; None if it is inside an item of the record."""
        if (found := _record_path(path, self.scope)) is not None:
            paths.add(found)
        if (found := _record_path(path, self.scope, self._compiler.scope)) is not None:
            reads.add(found)
        return found

    def count(self) -> None:
        """Counts an expression at this place."""
        self._compiler.count_expression(self.key)

    def expression(self, spec: Expression, parameter: str, *, as_written: bool = False) -> Reader:
        """See `transform.Site`."""
        nulls = self._compiler.nulls
        self._compiler.nulls = NO_NULLS if as_written else nulls
        try:
            with self._compiler.needs.alternative():
                return self._inner(spec, self.at(parameter))
        finally:
            self._compiler.nulls = nulls

    def within_items(self, spec: Expression, parameter: str) -> Reader:
        """See `transform.Site`."""
        return self._inner(spec, self.at(parameter, ItemScope(self.scope)))

    def _inner(self, spec: object, site: "_Site") -> Reader:
        table = _as_table(spec, site.key)
        for name in ("blank", "required", "check"):
            if name in table:
                raise InvalidMapping(f"{site.key}.{name}", "belongs to a whole mapping, not to a part of one")
        if "default" not in table:
            return _expression(site, table).reader()
        with self._compiler.needs.ignored():
            return _with_default(_expression(site, table).reader(), table["default"])

    def given(self, value: object, parameter: str) -> Reader | None:
        """See `transform.Site`."""
        return self._inner(value, self.at(parameter)) if isinstance(value, dict) else None

    def definition(self, name: str, parameter: str) -> Reader:
        """See `transform.Site`."""
        definitions, opened = self._compiler.definitions, self._compiler.open_definitions
        if name not in definitions:
            raise self.invalid(f"there is no definition {name!r:.40}; there are {_listed(definitions)}", parameter)
        if name in opened:
            cycle = " -> ".join([*opened[opened.index(name) :], name])
            raise self.invalid(f"the definition uses itself: {cycle}", parameter)
        opened.append(name)
        try:
            return self._inner(definitions[name], self.at(name))
        finally:
            opened.pop()

    def table(self, name: str, parameter: str) -> LookupTable:
        """See `transform.Site`."""
        return self._named(self._compiler.tables, name, "table", parameter)

    def rates(self, name: str, parameter: str) -> RateTable:
        """See `transform.Site`."""
        return self._named(self._compiler.rates, name, "table of rates", parameter)

    def _named(self, tables: MappingOf[str, _Table], name: str, kind: str, parameter: str) -> _Table:
        if name not in tables:
            raise self.invalid(f"there is no {kind} {name!r:.40}; there are {_listed(tables)}", parameter)
        return tables[name]

    def invalid(self, problem: str, parameter: str = "") -> InvalidMapping:
        """See `transform.Site`."""
        return InvalidMapping(f"{self.key}.{parameter}" if parameter else self.key, problem)


def _reads_item_only(spec: object) -> bool:
    """Whether a mapping certainly reads nothing of what is around the item. Then it is read without it, and faster."""
    match spec:
        case str():
            return not spec.startswith(ROOT) and spec != "."
        case dict():
            return "use" not in spec and all(map(_reads_item_only, spec.values()))
        case list():
            return all(map(_reads_item_only, spec))
        case _:
            return True


def _makes_boolean(table: dict[str, object]) -> bool:
    """Whether a mapping says that its value is a boolean."""
    steps = table.get("steps")
    return "boolean" in table or (isinstance(steps, list) and any(map(_is_boolean_step, steps)))


def _is_boolean_step(step: object) -> bool:
    return step == "boolean" or (isinstance(step, dict) and "boolean" in step)


def _record_path(path: str, scope: Scope, upto: Scope | None = None) -> str | None:
    while scope is not upto and isinstance(scope, ItemScope):
        if not path.startswith(f"{ROOT}."):
            return None
        path, scope = path.removeprefix(f"{ROOT}."), scope.outer
    return path


def _listed(names: MappingOf[str, object]) -> str:
    return ", ".join(sorted(names)) or "none"


def _as_table(spec: object, key: str) -> dict[str, object]:
    """A mapping as a table: a path alone is `from`."""
    if isinstance(spec, str):
        return {"from": spec}
    if isinstance(spec, dict):
        return spec
    raise InvalidMapping(key, f"expected a path or a table, got {spec!r:.60}")


def _policy(table: dict[str, object], key: str, otherwise: BlankPolicy) -> tuple[BlankPolicy, object]:
    """What becomes of a blank value: the policy, and the default that comes before it."""
    default, required, policy = table.get("default", UNSET), table.get("required", False), table.get("blank")
    if is_blank(default) and default is not UNSET:
        raise InvalidMapping(
            f"{key}.default", 'is blank; `blank = "null"` or `"skip"` says what becomes of a blank value'
        )
    if not isinstance(required, bool):
        raise InvalidMapping(f"{key}.required", f"expected true or false, got {required!r:.40}")
    if policy is None:
        return "refuse" if required else otherwise, default
    if policy not in BLANK_POLICIES:
        raise InvalidMapping(f"{key}.blank", f"expected one of {', '.join(BLANK_POLICIES)}, got {policy!r:.40}")
    if required and policy != "refuse":
        raise InvalidMapping(f"{key}.blank", f'{policy!r} contradicts `required`, which is `blank = "refuse"`')
    if default is not UNSET:
        raise InvalidMapping(f"{key}.blank", "has no effect beside `default`")
    return policy, default


def _expression(site: _Site, table: dict[str, object]) -> _Part:
    """Compiles an expression: what it reads, and its transforms in their order."""
    site.count()
    written = [(name, value) for name, value in table.items() if name not in RESERVED]
    if len(written) > 1:
        names = " and ".join(f"`{name}`" for name, _ in written)
        raise site.invalid(f"has {names}; write several transforms in their order: steps = [{{ … }}, {{ … }}]")
    steps = [*written, *_steps(site, table.get("steps", []))]
    transforms = [(site.registry.find(name, site.key), value) for name, value in steps]
    path = table.get("from")
    if path is not None and not isinstance(path, str):
        raise site.invalid(f"expected a path, got {path!r:.60}", "from")
    if path is not None:
        return _from_path(site, path, transforms)
    if not transforms or not transforms[0][0].reads_record:
        why = f": `{transforms[0][0].name}` needs a value" if transforms else ""
        raise site.invalid(f"says nowhere what it reads; give `from`{why}")
    transform, value = transforms[0]
    own = site.at(transform.name)
    parameters = check_parameters(transform, value, own, site.separators)
    read = cast("Reader", transform.build(parameters, own))
    first = _Part(read, (), transform.output_with(parameters), source=transform.name)
    return _with_steps(site, first, transforms[1:])


def _steps(site: _Site, steps: object) -> list[tuple[str, object]]:
    """The steps of a mapping: names, or tables of one transform."""
    if not isinstance(steps, list) or len(steps) > MAX_STEPS:
        raise site.invalid(f"expected a list of at most {MAX_STEPS} transforms", "steps")
    found: list[tuple[str, object]] = []
    for index, each in enumerate(steps):
        if isinstance(each, str):
            found.append((each, True))
        elif isinstance(each, dict) and len(each) == 1:
            found += each.items()
        else:
            raise site.invalid(
                f"expected a transform's name, or a table of one transform, got {each!r:.60}", f"steps[{index}]"
            )
    return found


_Written = Sequence[tuple[AnyTransform, object]]


def _from_path(site: _Site, path: str, transforms: _Written) -> _Part:
    return _with_steps(site, _Part(site.read_path(path), (), ValueType.ANYTHING, path), transforms)


def _with_steps(site: _Site, first: _Part, transforms: _Written) -> _Part:
    output, item = first.output, first.item
    steps: list[Step] = []
    for each in transforms:
        transform, built, made = _built(site, each, output)
        localized = transform.per_item and output is ValueType.LOCALIZED
        steps.append(Step(transform.name, built, transform.per_item, localized))
        output = _output_after(transform, output, made)
        item = made if transform.per_item and output is ValueType.ANYTHING else None
    return first._replace(steps=(*first.steps, *steps), output=output, item=item)


def _output_after(transform: AnyTransform, before: ValueType, made: ValueType) -> ValueType:
    """The type after a step. Items of a list, and texts by locale, stay what they are in."""
    if not transform.per_item or before not in {ValueType.LIST, ValueType.LOCALIZED, ValueType.ANYTHING}:
        return made
    return before


def _built(
    site: _Site, written: tuple[AnyTransform, object], before: ValueType
) -> tuple[AnyTransform, Built, ValueType]:
    """A step: its transform, its function, the type that it gives."""
    transform, value = written
    own = site.at(transform.name)
    inside = {ValueType.LIST, ValueType.LOCALIZED} if transform.per_item else set()
    if not transform.inputs:
        raise own.invalid("reads the record itself, and takes no value: remove `from`, or let it be the first step")
    if before not in inside and not accepts(transform.inputs, before):
        wanted = " or ".join(transform.inputs)
        raise own.invalid(f"takes {wanted}; what comes before it gives {before}")
    parameters = check_parameters(transform, value, own, site.separators)
    return transform, transform.build(parameters, own), transform.output_with(parameters)


def _converted(site: _Site, part: _Part, expects: ValueType) -> _Part:
    """The expression, with a conversion if its type is not the expected one. Raises `InvalidMapping` if none is."""
    if expects is ValueType.ANYTHING or part.output is expects:
        return part
    if accepts([expects], part.output) and part.output is not ValueType.ANYTHING:
        return part
    if part.item is not None and accepts([expects], part.item) and part.item is not ValueType.ANYTHING:
        last = part.steps[-1]._replace(per_item=False)  # the target takes one value: a list is refused
        return part._replace(steps=(*part.steps[:-1], last), output=expects)
    if expects not in CONVERSIONS:
        raise site.invalid(f"gives {part.output}; the target is {expects}")
    transform = site.registry.find(CONVERSIONS[expects], site.key)
    if not accepts(transform.inputs, part.output):
        raise site.invalid(f"gives {part.output}; the target is {expects}")
    own = site.at(transform.name)
    parameters = check_parameters(transform, dict(site.conversions.get(expects, {})), own)
    built = transform.build(parameters, own)
    step = Step(transform.name, built, per_item=False)
    return part._replace(steps=(*part.steps, step), output=expects, item=None)


def _with_default(read: Reader, default: object) -> Reader:
    def run(record: object) -> object:
        value = read(record)
        return default if is_blank(value) else value

    return run
