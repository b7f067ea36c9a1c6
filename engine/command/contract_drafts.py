"""`pagefold contracts diff`, `suggest` and `generate`: what changed between contracts, and what one might say."""

import tomllib
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

import pagefold
from pagefold.engine.command.channel_contracts import Compared, compared_documents, kind_of
from pagefold.engine.command.console import count, percent, print_message, show_table, write_json
from pagefold.engine.command.contracts import fetch_tables, load_contract
from pagefold.engine.command.export_options import (
    Delimiter,
    Encoding,
    ExportFormat,
    RecordSource,
    csv_form,
    export_kind,
)
from pagefold.engine.command.options import AsJSON, Exit, Injected, Options, UsageError, unknown_source
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import SourceFailed, StoreNotFound
from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.contract_check import CheckResult, ContractCheck
from pagefold.engine.intake.contracts.contract_diff import contract_changes
from pagefold.engine.intake.contracts.contract_generator import Facts, generated_contract
from pagefold.engine.intake.contracts.contract_head import Form
from pagefold.engine.intake.contracts.export_rows import Damaged, Format, Row, export_rows
from pagefold.engine.intake.contracts.mapping_suggestions import FieldValues, Suggestion, field_values, suggestions
from pagefold.engine.intake.contracts.record_location import located_records
from pagefold.engine.intake.contracts.record_profile import RecordProfile, profile_of
from pagefold.engine.intake.contracts.schema_profile import is_schema, schema_profile
from pagefold.engine.intake.contracts.source_contracts import DEFAULTS
from pagefold.engine.runtime.event_loop import run


def diff(old: Path, new: Path, /, *, form: Form = "json", as_json: AsJSON = False) -> int:
    """Show what changed between two contracts, and whether it is breaking. Exit code 1 if a change is.

    A change is compatible if the new contract still makes everything that the old one makes of a record, in the same
    way; it may make more, and refuse less. It is breaking if a value may be missing, be another one, or be refused.
    Contracts of channels are compared likewise, and requirement sets by what becomes required.

    Parameters
    ----------
    old
        The TOML file of the contract, or of the requirement set, as it was.
    new
        The TOML file of the same as it shall be.
    form
        The form of the records, unless the contracts say their own.
    as_json
        Print one JSON object per change and line: place, effect, text.
    """
    before, after, changes = _compared(old, new, form)
    effects = Counter(change.effect for change in changes)
    if as_json:
        for change in changes:
            write_json(change._asdict())
    elif changes:
        show_table(["place", "effect", "change"], changes, wrapped={"change"})
    summary = ", ".join(f"{effects[effect]:,} {effect}" for effect in ("breaking", "compatible"))
    print_message(f"{before} to {after}: {summary if changes else 'no change'}")
    if changes and before == after:
        print_message(f"both are version {after.rpartition('@')[2]}: give the new one the next version")
    return Exit.REFUSED if effects["breaking"] else Exit.DONE


def _compared(old: Path, new: Path, form: Form) -> Compared:
    """What changed between two documents of one kind. Raises `UsageError`, `ConfigurationError`."""
    kind, other = kind_of(old), kind_of(new)
    if kind != other:
        raise UsageError("NEW", f"{new} is not of the same kind as {old}")
    if kind != "source":
        return compared_documents(old, new, kind)
    before, after = (
        Contract.load(file, source="any", channels=(), form=form, defaults=DEFAULTS["cdc"]) for file in (old, new)
    )
    return Compared(before.identity, after.identity, contract_changes(before, after))


MAX_SAMPLE = 1_000
Sample = Annotated[int, Parameter(validator=Number(gte=1, lte=100_000), help="How many rows to look at.")]


def generate(  # noqa: PLR0913  # they are options
    export: str,
    /,
    *,
    source: RecordSource,
    format: ExportFormat = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
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
    """
    config = options.load()
    if source not in config.sources:
        raise UsageError("--source", unknown_source(source, config))
    kind = export_kind(export, format)
    fetch_tables(config, source)
    rows = list(islice(export_rows(export, kind, csv_form(delimiter, encoding)), records))
    values = [value for _, value in rows if not isinstance(value, Damaged)]
    is_from_schema = kind == "json" and len(values) == 1 and is_schema(values[0])
    items, profile = (None, schema_profile(values[0])) if is_from_schema else _located(values)  # type: ignore[arg-type]  # it is a schema
    if not profile.fields:
        raise SourceFailed(export, "has no records with fields to make a contract of")
    origin = f"the JSON Schema {export}" if is_from_schema else f"{count(profile.records, 'record')} of {export}"
    currencies: dict[str, list[str]] = {}
    for name, channel in config.channels.items():
        currencies.setdefault(channel.currency, []).append(name)
    locales = [locale for channel in config.resolved_channels for locale in channel.context().locales]
    languages = {locale.partition("-")[0] for locale in locales}
    facts = Facts(source, config.sources[source].domains, currencies, languages, origin, kind == "csv", items)
    text = generated_contract(profile, facts)
    print(text, end="")
    if not is_from_schema:
        _say_what_it_makes(_tried(config, text, source, rows, kind))
    return Exit.DONE


def suggest(  # noqa: PLR0913  # they are options
    export: str,
    /,
    *,
    contract: Path,
    source: RecordSource,
    format: ExportFormat = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    records: Sample = MAX_SAMPLE,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Suggest what a contract might say of the fields of an export that it does not read.

    By similar names: a field that is called almost as one that no record has any more, or whose name says what it is.
    By equal values: with a field that the contract reads, with an attribute that the pages of the same SKUs have (if
    there is a store), or with the keys of a table. Each suggestion says how sure it is; nothing is changed.

    Parameters
    ----------
    export
        The file: CSV with a header, lines of JSON, or one JSON document; `-` for standard input.
    contract
        The TOML file of the contract.
    as_json
        Print one JSON object per suggestion and line: path, domain, place, spec, confidence, reason.
    """
    config, kind = options.load(), export_kind(export, format)
    compiled = load_contract(config, contract, source, "columns" if kind == "csv" else "json")
    rows = list(islice(export_rows(export, kind, csv_form(delimiter, encoding)), records))
    values = field_values(compiled, (value for _, value in rows if not isinstance(value, Damaged)))
    missing = [each.path for each in ContractCheck(config, compiled, 0).run(rows).missing]
    return run(lambda: _suggest(config, source, (compiled, values, missing), as_json=as_json))


async def _suggest(
    config: Config, source: str, found: tuple[Contract, FieldValues, list[str]], *, as_json: bool
) -> int:
    contract, values, missing = found
    known = await _known_attributes(config, values)
    made = suggestions(contract, config.sources[source].domains, values, missing, known)
    if as_json:
        for each in made:
            write_json(each._asdict())
    else:
        _show_suggestions(made, values)
    return Exit.DONE


async def _known_attributes(config: Config, values: FieldValues) -> dict[str, dict[str, object]]:
    """The attributes of the pages of these SKUs, in any channel; none if there is no store."""
    known: dict[str, dict[str, object]] = {}
    try:
        async with pagefold.open(config, create=False) as shop:
            for channel in config.channels:
                for sku in values.skus[:MAX_SAMPLE]:
                    page = await shop.pages.get(sku, channel)
                    if page is not None and "catalog" in page:
                        known.setdefault(sku, {}).update(page["catalog"]["attributes"])
    except StoreNotFound:
        print_message("there is no store yet: values are not compared with those of pages")
    return known


def _show_suggestions(found: list[Suggestion], values: FieldValues) -> None:
    records = max(values.profile.records, 1)
    for domain in dict.fromkeys(each.domain for each in found):
        print(f"[{domain}]" if domain else "# need no place of their own; `ignore` may name them")
        for each in found:
            if each.domain == domain:
                share = percent(values.shares[each.path] * 100 / records)
                print(f"{each.text}  # {each.confidence} %: {each.reason}; in {share} of the records")
    print_message(f"not mapped: {count(len(found), 'field')} of {count(records, 'record')}; these are guesses")


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
