"""Changes of fields, as text."""

import orjson
from rich.text import Text

from pagefold.domains.domain import JSON
from pagefold.engine.command.console import printable, shortened
from pagefold.projections.field_changes import FieldChange

MAX_VALUE_CHARACTERS = 60
WHOLE_PAYLOAD = "payload"
"""The text of the path "", which is the payload itself."""


def change_line(change: FieldChange) -> Text:
    """A field that was added, removed or changed."""
    before, after = value_text(change.before), value_text(change.after)
    path = path_text(change.path)
    if change.before is None:
        return Text.assemble(("    + ", "green"), f"{path}: ", (after, "green"))
    if change.after is None:
        return Text.assemble(("    - ", "red"), f"{path}: ", (before, "red"))
    return Text.assemble(("    ~ ", "yellow"), f"{path}: ", (before, "red"), " → ", (after, "green"))


def path_text(path: str) -> str:
    """A path as text; `payload` for the payload itself."""
    return printable(path) or WHOLE_PAYLOAD


def value_text(value: JSON) -> str:
    """A value as text: JSON, shortened if it is long."""
    return shortened(printable(orjson.dumps(value).decode()), MAX_VALUE_CHARACTERS)
