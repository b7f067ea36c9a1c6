"""What a transform declares: its name, types, parameters, refusals and examples, and how it is built.

A transform is built once, when a contract is compiled, and then applied to every record. What it builds is pure: it
reads no clock, draws no random numbers, keeps no state, and changes neither the value nor the record.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, Protocol, TypeAlias, TypeVar

import msgspec

from pagefold.projections.transforms.errors import InvalidMapping, InvalidValue
from pagefold.projections.transforms.paths import Reader
from pagefold.projections.transforms.tables import LookupTable, RateTable
from pagefold.projections.transforms.value_types import ValueType

ValueFunction: TypeAlias = Callable[[object], object]
"""Makes a value of another. UNSET where nothing is left of it. Raises `InvalidValue`."""

Signal: TypeAlias = Callable[[str, str, str], None]
"""Receives what a contract does not map: its kind, the place in the contract, and the value."""

Level: TypeAlias = Literal["skip", "warn", "fail"]
"""What becomes of what is not mapped: left out, left out and reported, or an error."""

Expression: TypeAlias = Annotated[str | dict[str, object], msgspec.Meta(title="path or table")]
"""A parameter that reads the record: a path, or a table as that of a mapping."""

Given: TypeAlias = Annotated[str | dict[str, object], msgspec.Meta(title="text or table")]
"""A parameter that is a text, or a table that reads the record as that of a mapping does."""

Parameters = TypeVar("Parameters", bound=msgspec.Struct)


class NoParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of a transform that has none."""


@dataclass(frozen=True, slots=True)
class WithRecord:
    """A function that needs the record beside the value."""

    function: Callable[[object, object], object]


Built: TypeAlias = ValueFunction | WithRecord


class Site(Protocol):
    """The place in a contract at which a transform is built."""

    key: str
    """The place, such as `payload.amount.money`."""

    signal: Signal
    """Receives what is not mapped while records are read."""

    unmapped: Mapping[str, Level]
    """What becomes of it by kind (`lookup`, `locale`), where the contract says so."""

    @property
    def conversions(self) -> Mapping[ValueType, Mapping[str, object]]:
        """The contract's parameters of conversions to the types of targets, such as its zone."""

    def expression(self, spec: Expression, parameter: str, *, as_written: bool = False) -> Reader:
        """Compiles a parameter that reads the record. Raises `InvalidMapping`.

        With `as_written`, the `nulls` of the contract are values there.
        """

    def alternatives(self) -> AbstractContextManager[None]:
        """While they are compiled: parameters of which only one needs to have a value."""

    def members(self, pattern: str, parameter: str) -> tuple[Reader, str]:
        """Compiles a path whose last name has a placeholder: see `Scope.members`."""

    def within_items(self, spec: Expression, parameter: str) -> Reader:
        """The same for a parameter that reads pairs of an item and the record."""

    def given(self, value: object, parameter: str) -> Reader | None:
        """Compiles a parameter that is a value or, as a table, an expression; None if it is a value."""

    def definition(self, name: str, parameter: str) -> Reader:
        """A named expression of the contract. Raises `InvalidMapping` if there is none, or if it uses itself."""

    def table(self, name: str, parameter: str) -> LookupTable:
        """A table of the contract. Raises `InvalidMapping` if there is none."""

    def rates(self, name: str, parameter: str) -> RateTable:
        """A table of exchange rates. Raises `InvalidMapping` if there is none."""

    def invalid(self, problem: str, parameter: str = "") -> InvalidMapping:
        """The error for a parameter that cannot be."""


@dataclass(frozen=True, slots=True)
class Example:
    """What a transform makes of a value: documentation, and a test.

    `record` is what expressions read; `refused` is the code of the refusal, in place of a result. `tables` has the rows
    of the tables that it names.
    """

    parameters: object
    value: object = None
    result: object = None
    record: Mapping[str, object] | None = None
    refused: str | None = None
    tables: Mapping[str, Mapping[str, object]] | None = None
    rates: tuple[tuple[str, str, str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Transform(Generic[Parameters]):
    """A transform, as a contract names it.

    `output` is what it gives; `output_of` says it more precisely, where the parameters decide. `main` is the parameter
    that may be written alone. `per_item` applies it to each item of a list, and to each text of a text by locale.
    Without `inputs` it reads the record itself, in place of `from`: what it builds is a reader.
    """

    name: str
    summary: str
    inputs: tuple[ValueType, ...]
    output: ValueType
    parameters: type[Parameters]
    build: Callable[[Parameters, Site], Built]
    output_of: Callable[[Parameters], ValueType] | None = None
    main: str | None = None
    per_item: bool = False
    refusals: Mapping[str, str]
    examples: tuple[Example, ...]

    def output_with(self, parameters: Parameters) -> ValueType:
        """What it gives with these parameters."""
        return self.output if self.output_of is None else self.output_of(parameters)

    @property
    def reads_record(self) -> bool:
        """Whether it stands in place of `from`."""
        return not self.inputs


AnyTransform: TypeAlias = Transform[Any]


def wrong_type(value: object, expected: str) -> InvalidValue:
    """The refusal of a value of a type that a transform cannot take."""
    return InvalidValue("wrong_type", value, f"is not {expected}")


WRONG_TYPE = "the value has a type that the transform cannot take"
"""What `wrong_type` means, in every transform that declares it."""


NO_DEFAULTS: Mapping[str, object] = {}


def check_parameters(
    transform: AnyTransform, given: object, site: Site, defaults: Mapping[str, object] = NO_DEFAULTS
) -> msgspec.Struct:
    """The parameters of a transform, checked. Raises `InvalidMapping` with the parameter's place.

    `defaults` are those of the contract for parameters of these names, if the transform has them.
    """
    if given is True and not _needs_main(transform):
        given = {}
    elif not isinstance(given, dict):
        if transform.main is None:
            raise site.invalid(f"expected true or a table of parameters, got {given!r:.60}")
        given = {_encoded(transform, transform.main): given}
    own = {name: defaults[name] for name in _names(transform) if name in defaults}
    try:
        checked: msgspec.Struct = msgspec.convert({**own, **given}, transform.parameters)
    except msgspec.ValidationError as error:
        raise _invalid_parameter(transform, str(error), site) from None
    return checked


def _needs_main(transform: AnyTransform) -> bool:
    """Whether the main parameter has no default, so that `true` is a value for it."""
    return any(
        field.name == transform.main and field.required for field in msgspec.structs.fields(transform.parameters)
    )


def _encoded(transform: AnyTransform, name: str) -> str:
    """The name of a parameter in a contract."""
    [found] = [each.encode_name for each in msgspec.structs.fields(transform.parameters) if each.name == name]
    return found


def _names(transform: AnyTransform) -> tuple[str, ...]:
    names: tuple[str, ...] = transform.parameters.__struct_encode_fields__
    return names


def _invalid_parameter(transform: AnyTransform, message: str, site: Site) -> InvalidMapping:
    problem, _, place = message.partition(" - at `$")
    parameter = place.removesuffix("`").lstrip(".")
    if "unknown field" in problem:
        known = ", ".join(_names(transform)) or "none"
        problem = (
            f"{problem.replace('Object contains unknown field', 'unknown parameter')}; {transform.name} has {known}"
        )
    problem = problem.replace("Object missing required field", "missing parameter")
    return site.invalid(problem[:1].lower() + problem[1:], parameter)
