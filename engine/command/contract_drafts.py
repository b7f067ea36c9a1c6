"""`pagefold contracts diff`, `suggest` and `generate`: what changed between contracts, and what one might say."""

import tomllib
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from pagefold.engine.command.console import count, print_message, show_table, write_json
from pagefold.engine.command.contracts import ExportFormat, export_kind
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options, UsageError, unknown_source
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import SourceFailed
from pagefold.engine.intake.contracts.contract import Contract, Form
from pagefold.engine.intake.contracts.contract_check import CheckResult, ContractCheck
from pagefold.engine.intake.contracts.contract_diff import contract_changes
from pagefold.engine.intake.contracts.contract_generator import Facts, generated_contract
from pagefold.engine.intake.contracts.export_rows import Damaged, Format, Row, export_rows
from pagefold.engine.intake.contracts.record_location import located_records
from pagefold.engine.intake.contracts.record_profile import RecordProfile, profile_of
from pagefold.engine.intake.contracts.schema_profile import is_schema, schema_profile
from pagefold.engine.intake.contracts.source_contracts import DEFAULTS


def diff(old: Path, new: Path, /, *, form: Form = "json", as_json: AsJSON = False) -> int:
    """Show what changed between two contracts, and whether it is breaking. Exit code 1 if a change is.

    A change is compatible if the new contract still makes everything that the old one makes of a record, in the same
    way; it may make more, and refuse less. It is breaking if a value may be missing, be another one, or be refused.

    Parameters
    ----------
    old
        The TOML file of the contract as it was.
    new
        The TOML file of the contract as it shall be.
    form
        The form of the records, unless the contracts say their own.
    as_json
        Print one JSON object per change and line: place, effect, text.
    """
    before, after = (
        Contract.load(file, source="any", channels=(), form=form, defaults=DEFAULTS["cdc"]) for file in (old, new)
    )
    changes = contract_changes(before, after)
    effects = Counter(change.effect for change in changes)
    if as_json:
        for change in changes:
            write_json(change._asdict())
    elif changes:
        show_table(["place", "effect", "change"], changes, wrapped={"change"})
    summary = ", ".join(f"{effects[effect]:,} {effect}" for effect in ("breaking", "compatible"))
    print_message(f"{before.identity} to {after.identity}: {summary if changes else 'no change'}")
    if changes and before.identity == after.identity:
        print_message(f"both are version {after.head.version}: give the new one the next version")
    return Exit.REFUSED if effects["breaking"] else Exit.DONE


MAX_SAMPLE = 1_000
Sample = Annotated[int, Parameter(validator=Number(gte=1, lte=100_000))]


def generate(
    export: str,
    /,
    *,
    source: str,
    format: ExportFormat = None,
    delimiter: str | None = None,
    records: Sample = MAX_SAMPLE,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Write a first contract for an export, or for a JSON Schema of its records. Nothing is stored.

    Fields get their places by their names and by the form of their values, in the domains that the source may write;
    each line says what the sample has. What is a guess is marked DECIDE. The contract compiles, and is tried on the
    sample: the last line says what it makes of it.

    Parameters
    ----------
    export
        The file: CSV with a header, lines of JSON, one JSON document, or a JSON Schema; `-` for standard input.
    source
        The source whose records these are.
    format
        The format of the file, if its name does not show it.
    delimiter
        The delimiter of a CSV file; by default the one that its header has.
    records
        How many rows to look at.
    """
    config = options.load()
    if source not in config.sources:
        raise UsageError("--source", unknown_source(source, config))
    kind = export_kind(export, format, delimiter)
    rows = list(islice(export_rows(export, kind, delimiter), records))
    values = [value for _, value in rows if not isinstance(value, Damaged)]
    is_from_schema = kind == "json" and len(values) == 1 and is_schema(values[0])
    items, profile = (None, schema_profile(values[0])) if is_from_schema else _located(values)  # type: ignore[arg-type]  # it is a schema
    if not profile.fields:
        raise SourceFailed(export, "has no records with fields to make a contract of")
    origin = f"the JSON Schema {export}" if is_from_schema else f"{count(profile.records, 'record')} of {export}"
    currencies = list(dict.fromkeys(channel.currency for channel in config.channels.values()))
    locales = [locale for channel in config.resolved_channels for locale in channel.context().locales]
    languages = {locale.partition("-")[0] for locale in locales}
    facts = Facts(source, config.sources[source].domains, currencies, languages, origin, kind == "csv", items)
    text = generated_contract(profile, facts)
    print(text, end="")
    if not is_from_schema:
        _say_what_it_makes(_tried(config, text, source, rows, kind))
    return Exit.DONE


def _located(values: list[object]) -> tuple[str | None, RecordProfile]:
    items, found = located_records(values)
    return items, profile_of(found)


def _tried(config: Config, text: str, source: str, rows: list[Row], kind: Format) -> CheckResult:
    form: Form = "columns" if kind == "csv" else "json"
    contract = Contract(
        tomllib.loads(text), source=source, channels=config.channels, form=form, defaults=DEFAULTS["snapshot"]
    )
    return ContractCheck(config, contract, 0).run(rows)


def _say_what_it_makes(result: CheckResult) -> None:
    made = ", ".join(f"{number:,} of {domain}" for domain, number in sorted(result.statements.items()))
    print_message(
        f"{count(result.reading.records, 'record')} make statements: {made or 'none'}; refused: {result.refused:,}; "
        "`pagefold contracts check` shows more"
    )
