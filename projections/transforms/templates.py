"""Templates: text with expressions in `{{ }}`, without statements, arithmetic or calls. Bounded in time and memory.

The only module that imports `minijinja`. Fuel bounds what a template does; but some of what its language offers costs
no fuel and takes any amount of memory, or even ends the process. So a template may use only what is listed here, which
is checked before the library sees it. Templates compute no numbers: the library would turn decimals into doubles.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal

import minijinja
from msgspec import UNSET

from pagefold.domains.values import MAX_NESTING
from pagefold.projections.transforms.errors import InvalidMapping, InvalidValue
from pagefold.projections.transforms.paths import Reader, column_of
from pagefold.projections.transforms.texts import number_text, text_of
from pagefold.projections.transforms.value_types import is_blank, to_json

MAX_TEMPLATE_CHARACTERS = 2_000
FUEL = 100_000
"""What one use may cost: about a million characters."""

FILTERS = frozenset(
    [
        "abs",
        "capitalize",
        "d",
        "default",
        "e",
        "escape",
        "first",
        "format",
        "int",
        "join",
        "last",
        "length",
        "lower",
        "replace",
        "reverse",
        "split",
        "string",
        "striptags",
        "title",
        "trim",
        "unique",
        "upper",
        "urlencode",
    ]
)
"""Filters whose cost is bounded by fuel, and whose result depends on nothing but the value."""

WORDS = frozenset({"if", "else", "is", "not", "in", "and", "or", "true", "false", "none", "defined", "undefined"})

Render = Callable[[Mapping[str, object]], object]
"""Makes the text of the variables; UNSET if one that it needs is missing."""

_expression = re.compile(r"\{\{-?((?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^'\"{}])*?)-?\}\}", re.DOTALL)
_literal = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_forbidden = re.compile(r"\*|/|%|\+|-|<|>|:|\[\[|\{|\}")
_call = re.compile(r"(\|\s*)?([A-Za-z_][\w.]*)\s*\(")
_filter = re.compile(r"\|\s*([A-Za-z_]\w*)?")
_variable_only = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*", re.ASCII)


def check_template(source: str, key: str) -> None:
    """Refuses what a template must not have. Raises `InvalidMapping`."""
    if len(source) > MAX_TEMPLATE_CHARACTERS:
        raise InvalidMapping(key, f"has {len(source)} characters; a template may have {MAX_TEMPLATE_CHARACTERS}")
    for mark, name in (("{%", "statements"), ("{#", "comments")):
        if mark in source:
            raise InvalidMapping(key, f"has {mark}: templates have no {name}; write {{{{ a if b else c }}}}")
    if "{{" in _expression.sub("", source):
        raise InvalidMapping(key, "has {{ without a }} that ends it")
    for found in _expression.finditer(source):
        _check_expression(_literal.sub("''", found[1]), key)


def _check_expression(text: str, key: str) -> None:
    if (forbidden := _forbidden.search(text)) is not None:
        why = "numbers are compared by `when`, and computed by `sum`, `product` and `round`"
        raise InvalidMapping(key, f"has {forbidden[0]!r} in an expression: {why}")
    for call in _call.finditer(text):
        if call[1] is None and call[2] not in WORDS:
            raise InvalidMapping(key, f"calls {call[2]!r:.40}: templates have filters, and no functions or methods")
    for each in _filter.finditer(text):
        if each[1] not in FILTERS:
            raise InvalidMapping(key, f"has the filter {each[1]!r:.40}; there are {', '.join(sorted(FILTERS))}")


def variables_of(source: str, key: str) -> set[str]:
    """The names that a template uses. Raises `InvalidMapping` if it is not a template."""
    check_template(source, key)
    try:
        return _environment().undeclared_variables_in_str(source)
    except minijinja.TemplateError as error:
        raise InvalidMapping(key, f"is not a template: {_first_line(error)}") from None


def compile_template(source: str, key: str, readers: Mapping[str, Reader]) -> Reader:
    """Compiles a template whose variables are read from the record. Raises `InvalidMapping`.

    A template of variables alone is put together without the library, in a fifth of the time, with the same result.
    """
    check_template(source, key)
    parts = _plain_parts(source)
    if parts is not None:
        return _joined(parts, readers)
    render = _rendered(source, key)
    return lambda record: render({name: read(record) for name, read in readers.items()})


def _plain_parts(source: str) -> list[tuple[str, str | None]] | None:
    """Text before each variable and its name, at the end with None; None if the template has more than variables."""
    parts: list[tuple[str, str | None]] = []
    place = 0
    for found in _expression.finditer(source):
        name = _variable_only.fullmatch(found[1])
        if name is None or name[1] in WORDS or "-" in found[0][2] + found[0][-3]:
            return None
        parts.append((source[place : found.start()], name[1]))
        place = found.end()
    rest = source[place:].removesuffix("\n")  # as the library does
    return [*parts, (rest, None)]


def _joined(parts: list[tuple[str, str | None]], readers: Mapping[str, Reader]) -> Reader:
    form = "%s".join(text.replace("%", "%%") for text, _ in parts)
    variables = [readers[name] for _, name in parts if name is not None]
    columns = [column for read in variables if (column := column_of(read)) is not None]
    if len(columns) == len(variables):
        return _joined_columns(form, columns)

    def join(record: object) -> object:
        values = [read(record) for read in variables]
        return UNSET if any(map(is_blank, values)) else form % tuple(map(text_of, values))

    return join


def _joined_columns(form: str, columns: list[str]) -> Reader:
    """The same for most templates, whose variables are names in the record, with as few calls as can be."""

    def join(record: object) -> object:
        values = []
        for column in columns:
            value = record.get(column, UNSET) if type(record) is dict else UNSET
            if type(value) is not str:
                if is_blank(value):
                    return UNSET
                value = text_of(value)
            elif not value or value.isspace():
                return UNSET
            values.append(value)
        return form % tuple(values)

    return join


def _rendered(source: str, key: str) -> Render:
    environment = _environment()
    try:
        environment.add_template("computed", source)
    except minijinja.TemplateError as error:
        raise InvalidMapping(key, f"is not a template: {_first_line(error)}") from None

    def render(values: Mapping[str, object]) -> object:
        given = {name: _passed(value) for name, value in values.items() if not is_blank(value)}
        try:
            return environment.render_template("computed", **given)
        except minijinja.TemplateError as error:
            if error.kind == "UndefinedError":
                return UNSET
            if error.kind == "OutOfFuel":
                raise InvalidValue("too_costly", None, "makes the template cost more than one use may") from None
            raise InvalidValue(
                "template_failed", None, f"cannot be used by the template: {error.detail or error.kind}"
            ) from None

    return render


def _environment() -> minijinja.Environment:
    environment = minijinja.Environment(
        fuel=FUEL,
        undefined_behavior="strict",
        pycompat=False,
        debug=False,
        finalizer=text_of,
        auto_escape_callback=_never,
    )
    for name in list(environment.globals):
        environment.remove_global(name)
    return environment


def _never(_name: str) -> bool:
    """No text is escaped: it goes into JSON, and `escape` is a filter."""
    return False


def _passed(value: object, depth: int = 0) -> object:
    """A value as templates see it. A number with a fraction is text: it can be shown, and not computed with."""
    if depth > MAX_NESTING:
        raise InvalidValue("template_failed", value, f"is nested deeper than {MAX_NESTING} levels")
    if type(value) is list:
        return [_passed(each, depth + 1) for each in value]
    if type(value) is dict:
        return {name: _passed(each, depth + 1) for name, each in value.items() if not is_blank(each)}
    if type(value) is Decimal or type(value) is float:
        return number_text(value)
    return value if type(value) in {str, int, bool} else to_json(value)


def _first_line(error: minijinja.TemplateError) -> str:
    return str(error).partition("\n")[0]
