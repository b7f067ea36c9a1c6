"""`pagefold schema`: JSON Schemas, for editors and other programs."""

import json

import msgspec
from cyclopts import App

from pagefold.engine.command.options import Exit
from pagefold.engine.configuration.config import Config

DIALECT = "https://json-schema.org/draft/2020-12/schema"

schema = App(
    name="schema",
    help="""\
Print JSON Schemas.

With the schema of pagefold.toml, editors check, complete and explain its keys. For those that use Taplo, such as VS
Code with Even Better TOML: write the schema into a file, and name it in the first line of the configuration.

```text
pagefold schema config > pagefold.schema.json
#:schema ./pagefold.schema.json
```
""",
    help_epilogue="",
)


@schema.command
def config() -> int:
    """Print the JSON Schema of the configuration.

    It has keys with their descriptions, types, ranges and enumerations. `pagefold check` checks the rest too, such as
    names and addresses.
    """
    print(json.dumps(config_schema(), indent=2, ensure_ascii=False))
    return Exit.DONE


def config_schema() -> dict[str, object]:
    """The JSON Schema of pagefold.toml."""
    [found], definitions = msgspec.json.schema_components(
        [Config], schema_hook=_any_value, ref_template="#/$defs/{name}"
    )
    definitions["Config"]["description"] = "What pagefold.toml may have."
    return {"$schema": DIALECT, "title": "Pagefold configuration", **found, "$defs": definitions}


def _any_value(kind: type) -> dict[str, object]:
    """The schema of the values of columns, paths and constants: anything that TOML can hold."""
    if kind is object:
        return {"not": {"type": "null"}}
    raise NotImplementedError
