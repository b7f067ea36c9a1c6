"""What a contract says beside its statements."""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

import msgspec

from pagefold.engine.configuration.csv_tables import TableSource
from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.events import Tie
from pagefold.engine.intake.contracts.contract_tables import RateSource
from pagefold.engine.intake.contracts.record_join import JoinTable
from pagefold.engine.intake.contracts.statement_mapping import FIELDS, Versions
from pagefold.engine.intake.contracts.unmapped_levels import Unmapped, UnmappedLevels
from pagefold.engine.intake.contracts.written_tables import PAYLOADS
from pagefold.projections.transforms import InvalidMapping

Form: TypeAlias = Literal["columns", "json"]
"""What the records of a source are: rows with columns, or JSON values."""

Blanks: TypeAlias = Literal["skip", "withdraw", "refuse"]
"""What becomes of a blank value in a payload, unless its mapping says it."""


class ContractExample(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"in_": "in"}):
    """A message or a row, and the statements that it makes, in the order of the domains and their tables."""

    in_: object
    out: list[dict[str, object]]


class ContractHead(msgspec.Struct, frozen=True):
    """What a contract says beside its statements."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] = ""
    version: Annotated[int, msgspec.Meta(ge=1)] = 1
    form: Form | None = None
    items: str | list[str] = []
    only: dict[str, list[object] | bool] = {}
    versions: Versions = "integer"
    tie: Tie | None = None
    blanks: Blanks = "skip"
    nulls: list[str | int | float | bool] = []
    zone: str | None = None
    decimal: str | None = None
    group: str | None = None
    unmapped: Unmapped | UnmappedLevels | None = None
    ignore: list[str] = []
    definitions: dict[str, str | dict[str, object]] = {}
    tables: dict[str, TableSource] = {}
    rates: dict[str, RateSource] = {}
    join: JoinTable | None = None
    examples: list[ContractExample] = []


def contract_head(document: Mapping[str, object], name: str) -> ContractHead:
    """What a contract says beside its statements; `name` is its name unless it says another."""
    known = {*ContractHead.__struct_encode_fields__, *FIELDS, *PAYLOADS}
    for key in document:
        if key not in known:
            raise InvalidMapping(key, f"is unknown; {suggestion(key, sorted(known), 'keys')}")
    try:
        return msgspec.convert({"name": name, **document}, ContractHead)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        raise InvalidMapping(place.removesuffix("`").lstrip("."), problem[:1].lower() + problem[1:]) from None
