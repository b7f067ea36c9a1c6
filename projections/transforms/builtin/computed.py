"""Texts that are put together of several values, by a template."""

from typing import Annotated

import msgspec

from pagefold.projections.transforms.errors import InvalidMapping
from pagefold.projections.transforms.paths import Reader
from pagefold.projections.transforms.transform import Example, Expression, Site, Transform
from pagefold.projections.transforms.value_types import ValueType

MAX_VARIABLES = 50


class Computed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"variables": "with"}):
    """The parameters of `computed`."""

    template: Annotated[str, msgspec.Meta(min_length=1, description="the text, with variables in `{{ }}`")]
    variables: Annotated[
        dict[str, Expression],
        msgspec.Meta(description="what reads each variable; one that is not named here is the path of its own name"),
    ] = {}


def _computed(parameters: Computed, site: Site) -> Reader:
    from pagefold.projections.transforms.templates import compile_template, variables_of  # noqa: PLC0415  # its package is an extra

    names = sorted(variables_of(parameters.template, f"{site.key}.template"))
    if unused := sorted(parameters.variables.keys() - names):
        raise InvalidMapping(f"{site.key}.with.{unused[0]}", "is not used by the template")
    if len(names) > MAX_VARIABLES:
        raise site.invalid(f"has {len(names)} variables; at most {MAX_VARIABLES} are allowed", "template")
    readers = {name: site.expression(parameters.variables.get(name, name), f"with.{name}") for name in names}
    return compile_template(parameters.template, f"{site.key}.template", readers)


COMPUTED = Transform(
    name="computed",
    summary=(
        "A text made by a template: variables, filters, `~` and `a if b else c`; no statements, arithmetic or calls, "
        "which `sum`, `product` and `when` do exactly. If a variable is blank, so is the text, unless the template has "
        "a `default` for it. Numbers keep their digits; those with a fraction are text."
    ),
    inputs=(),
    output=ValueType.TEXT,
    parameters=Computed,
    main="template",
    build=_computed,
    refusals={
        "template_failed": "the template cannot be used with these values",
        "too_costly": "the template costs more than its fuel allows",
        "wrong_type": "a list or an object is shown as it is",
        "not_json": "a value has no form in JSON",
        "no_offset": "a moment of a database has no offset",
        "out_of_range": "a number has more than 400 digits, or a moment is outside the years 1 to 9999",
        "inexact": "a number is not exact as a double",
    },
    examples=(
        Example("{{ brand }} {{ name }}", record={"brand": "Nord", "name": "Tee"}, result="Nord Tee"),
        Example(
            {
                "template": "{{ name|upper }}{{ ' (' ~ size ~ ')' if size is defined else '' }}",
                "with": {"name": "title"},
            },
            record={"title": "Tee", "size": ""},
            result="TEE",
        ),
        Example("{{ materials|join(' / ') }}", record={"materials": ["Cotton", "wool"]}, result="Cotton / wool"),
    ),
)

COMPUTED_TRANSFORMS = (COMPUTED,)
