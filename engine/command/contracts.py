"""`pagefold contracts`: how the records of a source become statements."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from cyclopts import App, Parameter
from cyclopts.validators import Number

from pagefold.engine.command.channel_contracts import (
    CheckOptions,
    ListedChannelContract,
    check_channel_contract,
    kind_of,
    listed_channel_contracts,
    run_channel_examples,
)
from pagefold.engine.command.console import count, percent, print_error, print_message, show_table, write_json
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
from pagefold.engine.events import DomainEvent
from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.contract_check import CheckResult, ContractCheck
from pagefold.engine.intake.contracts.contract_examples import failed_examples
from pagefold.engine.intake.contracts.contract_head import Form
from pagefold.engine.intake.contracts.export_rows import Format, Row, export_rows
from pagefold.engine.intake.contracts.fetched_tables import fetched_tables
from pagefold.engine.intake.contracts.listed_contracts import ListedContract, listed_contracts
from pagefold.engine.intake.contracts.source_contracts import (
    DEFAULTS,
    Entrance,
    source_contract,
)
from pagefold.engine.runtime.event_loop import run
from pagefold.engine.runtime.extras import needs_extra
from pagefold.engine.snapshots.request_limiter import RequestLimiter

MAX_SHOWN_NAMES = 20

contracts = App(
    name="contracts",
    help="""\
Write, check and compare contracts: how the records of a source become statements.

A contract is a TOML file; docs/contracts.md describes it.
""",
    help_epilogue="",
)


@contracts.command(name="list")
def list_contracts(
    *,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """List the contracts of the configuration. Exit code 1 if one is invalid.

    First those of sources, by entrance; an entrance without a contract takes Pagefold's own form, and is not listed.
    Then those of channels, with the channels that name them.

    Parameters
    ----------
    as_json
        Print one JSON object per contract and line: source, entrance, contract, written, state; for channels: contract,
        channels.
    """
    config = options.load()
    found = [_row(each) for each in listed_contracts(config)]
    of_channels = listed_channel_contracts(config)
    if as_json:
        for each in found:
            write_json(each._asdict())
        for shared in of_channels:
            write_json(shared._asdict())
    if found and not as_json:
        show_table(ContractRow._fields, found, wrapped={"state"})
    if of_channels and not as_json:
        print(end="\n" if found else "")
        show_table(ListedChannelContract._fields, of_channels, wrapped={"channels"})
    if not (found or of_channels):
        print_message("no source and no channel has a contract")
    return Exit.DONE if all(each.state == "valid" for each in found) else Exit.REFUSED


class ContractRow(NamedTuple):
    """A contract of an entrance: its name and version, where it is written, and whether it can be used."""

    source: str
    entrance: str
    contract: str
    written: str
    state: str


def _row(listed: ListedContract) -> ContractRow:
    state = f"invalid: {listed.problem}" if listed.problem else ""
    if listed.contract is not None:
        failed = len(list(failed_examples(listed.contract)))
        state = f"{count(failed, 'example')} failed" if failed else "valid"
    return ContractRow(listed.source, listed.entrance, listed.name, listed.written, state)


@contracts.command
def show(
    contract: Path,
    /,
    *,
    source: RecordSource,
    entrance: Entrance = "snapshot",
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Show what a contract fills, and what it reads for it; first by what it joins records.

    Parameters
    ----------
    contract
        The TOML file of the contract.
    entrance
        Where the records come in: that decides which fields of an event the contract may leave out.
    as_json
        Print one JSON object per place and line: place, reads, type.
    """
    compiled = load_contract(options.load(), contract, source, entrance=entrance)
    mappings = [*([] if compiled.join is None else compiled.join.mappings), *compiled.mappings]
    if as_json:
        for each in mappings:
            write_json({"place": each.key, "reads": sorted(each.reads), "type": str(each.output)})
    else:
        rows = [(each.key, ", ".join(sorted(each.reads)), str(each.output)) for each in mappings]
        show_table(["place", "reads", "type"], rows, wrapped={"reads"})
    return Exit.DONE


@contracts.command(name="test")
def run_examples(
    contract: Path,
    /,
    *,
    source: str | None = None,
    entrance: Entrance = "snapshot",
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Run the examples that a contract carries. Exit code 1 where one fails.

    Parameters
    ----------
    contract
        The TOML file of the contract, of a source or of channels.
    source
        The source whose records these are. A contract of channels has none: it is tried in the language of each channel
        that names it.
    entrance
        Where the records come in: that decides which fields of an event the contract may leave out.
    """
    config = options.load()
    if source is None:
        if kind_of(contract) != "channel":
            raise UsageError("--source", "is needed: whose records these are")
        return run_channel_examples(config, contract)
    compiled = load_contract(config, contract, source, entrance=entrance)
    failed = list(failed_examples(compiled))
    for each in failed:
        print_error(f"example {each.number}: expected {_json(each.expected)}, got {_json(each.found)}")
    number = len(compiled.head.examples)
    print_message(f"{compiled.identity}: {count(number, 'example')}, {len(failed)} failed")
    return Exit.REFUSED if failed else Exit.DONE


@contracts.command
def check(  # noqa: PLR0913  # they are options
    export: str | None = None,
    /,
    *,
    source: RecordSource | None = None,
    channel: str | None = None,
    contract: Path | None = None,
    entrance: Entrance = "snapshot",
    format: ExportFormat = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    more: Annotated[tuple[str, ...], Parameter(name="--more", negative="")] = (),
    samples: Annotated[int, Parameter(validator=Number(gte=0))] = 10,
    as_json: AsJSON = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Read an export through a contract, and show what would become of it. Nothing is written.

    Shows statements by domain, samples, kinds of refusals with an example, values and columns that the contract does
    not map, and paths that no record has; with --channel, what the contract of a channel shows of catalog payloads, or
    of the products of the store. Exit code 1 where something would be lost.

    Parameters
    ----------
    export
        The file: CSV with a header, lines of JSON, or one JSON document; `-` for standard input.
    channel
        The channel that has the contract. Without a file, products come from the store.
    contract
        The TOML file of the contract; by default the contract that the configuration names.
    entrance
        Where the records come in, which decides what a contract may leave out. Moments of delivery are the time of the
        check, and `@lsn` is the line.
    more
        Files that the contract joins, as NAME=FILE.
    samples
        How many statements to show.
    as_json
        Print one JSON object.
    """
    config = options.load()
    if channel is not None:
        kind, chosen = _payload_format(export, format), CheckOptions(contract, samples, as_json)
        return check_channel_contract(config, channel, export, kind, chosen)
    if source is None or export is None:
        raise UsageError("--source", "and a file are needed, or --channel")
    kind, csv = export_kind(export, format), csv_form(delimiter, encoding)
    compiled = _checked_contract(config, contract, source, kind, entrance)
    rows = export_rows(export, kind, csv, compiled.paths)
    result = ContractCheck(config, compiled, samples, entrance).run(rows, _others(more, compiled))
    return _report(compiled, result, as_json=as_json)


def _checked_contract(config: Config, contract: Path | None, source: str, kind: Format, entrance: Entrance) -> Contract:
    """The contract of a check, with the tables that endpoints have. Raises `UsageError`, `ConfigurationError`."""
    form: Form = "columns" if kind == "csv" or entrance == "cdc" else "json"
    if contract is None:
        compiled = _configured_contract(config, source, entrance, form)
    else:
        compiled = load_contract(config, contract, source, form, entrance)
    fetch_tables(config, source)
    return compiled


def _report(contract: Contract, result: CheckResult, *, as_json: bool) -> int:
    """Shows what was found. Returns the exit code."""
    if as_json:
        write_json(_document(contract, result))
    else:
        _show(contract, result)
    return Exit.REFUSED if result.loses_something else Exit.DONE


def _payload_format(export: str | None, given: ExportFormat) -> Format:
    """The format of a file of payloads. Raises `UsageError`."""
    kind = "ndjson" if export is None else export_kind(export, given)
    if kind == "csv":
        raise UsageError("--format", "of catalog payloads is ndjson or json")
    return kind


def _others(more: Sequence[str], contract: Contract) -> dict[str, Iterator[Row]]:
    """The rows of other files that a contract joins, by their name there. Raises `UsageError`."""
    known = frozenset[str]() if contract.join is None else contract.join.parts
    found: dict[str, Iterator[Row]] = {}
    for each in more:
        name, _, file = each.partition("=")
        if name not in known or not file:
            parts = ", ".join(sorted(known)) or "none"
            raise UsageError("--more", f"{each!r} is not NAME=FILE with a name that the contract joins: {parts}")
        found[name] = export_rows(file, export_kind(file, None))
    return found


def _configured_contract(config: Config, source: str, entrance: Entrance, form: Form) -> Contract:
    """The contract of the configuration. Raises `UsageError` if there is none, `ConfigurationError`."""
    if source not in config.sources:
        raise UsageError("--source", unknown_source(source, config))
    contract = source_contract(config, source, entrance, form)
    if contract is None:
        raise UsageError("--contract", f"is needed: the configuration names none for {source}, {entrance}")
    return contract


def load_contract(
    config: Config, file: Path, source: str, form: Form = "json", entrance: Entrance = "snapshot"
) -> Contract:
    """The contract in a file, for a source of the configuration. Raises `UsageError`, `ConfigurationError`."""
    if source not in config.sources:
        raise UsageError("--source", unknown_source(source, config))
    form = "columns" if entrance == "cdc" else form
    defaults = DEFAULTS[entrance]
    fetched = fetched_tables(config, source)
    return Contract.load(file, source=source, channels=config.channels, form=form, defaults=defaults, fetched=fetched)


def fetch_tables(config: Config, source: str) -> None:
    """Fetches the tables of a source that endpoints have. Raises `SourceFailed`."""
    if config.sources[source].lookups:
        with needs_extra("a table from an endpoint", "rebuild"):
            from pagefold.engine.snapshots.lookups import fetch_for_run  # noqa: PLC0415  # few sources have any

        async def fetch() -> int:
            await fetch_for_run(config, source, RequestLimiter())
            return Exit.DONE

        run(fetch)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _show(contract: Contract, result: CheckResult) -> None:
    for sample in result.samples:
        payload = "withdrawn" if sample.payload is None else _json(_payload(sample))
        print(f"{sample.type} {sample.sku} {sample.channel} {sample.source} {sample.source_version}: {payload}")
    if result.samples:
        print()
    counts = [(domain, result.statements[domain], result.withdrawals[domain]) for domain in _domains(result)]
    show_table(
        ["domain", "statements", "withdrawals"],
        [(domain, f"{said:,}", f"{withdrawn:,}") for domain, said, withdrawn in counts],
        numbers={"statements", "withdrawals"},
    )
    for line in _remarks(result):
        print_message(line)
    print_message(f"{contract.identity}: {count(result.rows, 'row')}, {count(result.reading.records, 'record')}")


def _domains(result: CheckResult) -> list[str]:
    return sorted({*result.statements, *result.withdrawals})


def _remarks(result: CheckResult) -> Iterator[str]:
    """Everything that a person should know of, a line each."""
    for kind in sorted(result.refusals.values(), key=lambda kind: -kind.count):
        of = f"{kind.sku}, line {kind.line}" if kind.sku else f"line {kind.line}"
        yield f"refused {kind.count:,}: {kind.example} ({kind.domain}, such as {of})"
    if result.problem is not None:
        yield f"a run would stop: {result.problem}"
    for each in result.missing:
        if not each.needed:
            yield f"no record has `{each.path}`, which the contract reads for {each.domain}"
    if result.reading.left_out:
        yield f"left out by `only`: {result.reading.left_out:,}"
    for channel, number in Counter(result.reading.channels).most_common(MAX_SHOWN_NAMES):
        yield f"for the unknown channel {channel!r}: {count(number, 'statement')}, left out"
    for (signal, place, value), number in result.signals.most_common(MAX_SHOWN_NAMES):
        yield f"{place}: {value!r:.60} is not mapped ({signal}): {count(number, 'value')}"
    records = max(result.reading.records, 1)
    unmapped = result.unmapped
    for name, counts in unmapped[:MAX_SHOWN_NAMES]:
        share = percent(counts.records * 100 / records)
        yield f"not mapped: {name!r:.60}, in {share} of the records, such as {counts.example!r:.60}"
    if len(unmapped) > MAX_SHOWN_NAMES:
        yield f"not mapped: {count(len(unmapped) - MAX_SHOWN_NAMES, 'field')} more; --json has all"


def _document(contract: Contract, result: CheckResult) -> dict[str, object]:
    return {
        "contract": contract.identity,
        "rows": result.rows,
        "records": result.reading.records,
        "statements": dict(result.statements),
        "withdrawals": dict(result.withdrawals),
        "samples": [_sample(event) for event in result.samples],
        "refusals": [
            {
                "domain": kind.domain,
                "place": kind.place,
                "code": kind.code,
                "count": kind.count,
                "example": kind.example,
                "sku": kind.sku,
                "line": kind.line,
            }
            for kind in result.refusals.values()
        ],
        "absent": [each._asdict() for each in result.missing],
        "leftOut": result.reading.left_out,
        "unknownChannels": dict(result.reading.channels),
        "notMapped": {name: counts.records for name, counts in result.unmapped},
        "values": [
            {"kind": kind, "place": place, "value": value, "count": number}
            for (kind, place, value), number in result.signals.items()
        ],
    }


def _sample(event: DomainEvent) -> dict[str, object]:
    document: dict[str, object] = msgspec.to_builtins(event)
    document["payload"] = _payload(event)
    return document


def _payload(event: DomainEvent) -> object:
    return msgspec.json.decode(event.payload) if isinstance(event.payload, bytes) else event.payload
