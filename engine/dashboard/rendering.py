"""Renders templates. Every value is escaped: nothing that a source has sent is ever markup.

The macros of `components.html` are the global `ui` of every template. A block of a screen's template whose name a
request has in `part` is rendered alone: so are the live parts.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pagefold.engine.dashboard import addresses, charts, formats
from pagefold.engine.dashboard.product_timeline import seconds_of
from pagefold.engine.dashboard.static_files import static_address
from pagefold.engine.runtime import clock
from pagefold.engine.runtime.version import version

TEMPLATES = Path(__file__).parent / "templates"
SUFFIX = ".html"


@cache
def environment() -> Environment:
    """The environment of all templates."""
    made = Environment(
        autoescape=True,
        auto_reload=False,
        loader=FileSystemLoader(TEMPLATES),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters.update(
        number=formats.number,
        duration=formats.duration,
        value=formats.value_text,
        json=formats.pretty_json,
        clock=lambda moment: formats.clock_text(moment, clock.moment()),
        iso=formats.iso_text,
    )
    made.globals.update(
        href=addresses.href,
        command=addresses.command,
        runbook_address=addresses.runbook_address,
        plural=formats.plural,
        bounded=formats.bounded,
        static=static_address,
        attributes=formats.attributes,
        seconds=seconds_of,
        sparkline=charts.sparkline,
        version=version(),
    )
    made.globals["ui"] = made.get_template("components.html").module
    return made


def render(template: str, values: Mapping[str, Any]) -> str:
    """A whole page."""
    return environment().get_template(template + SUFFIX).render(values)


def has_part(template: str, part: str) -> bool:
    """Whether a template has a block of this name."""
    return part in environment().get_template(template + SUFFIX).blocks


def render_part(template: str, part: str, values: Mapping[str, Any]) -> str:
    """One block of a template, without the rest. Raises `KeyError` if it has no such block."""
    found = environment().get_template(template + SUFFIX)
    return "".join(found.blocks[part](found.new_context(dict(values))))
