"""Channel contracts and requirement sets in `pagefold contracts`: list, test, diff and check."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import msgspec

import pagefold
from pagefold.domains import DOMAINS
from pagefold.engine.command.console import count, percent, print_error, print_message, show_table, write_json
from pagefold.engine.command.options import Exit, UsageError, unknown_channel
from pagefold.engine.configuration.channel_documents import (
    Document,
    channel_view,
    failed_contract_examples,
    read_requirements,
    resolved_locales,
    transform_registry,
)
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.contract_documents import read_contract
from pagefold.engine.configuration.toml_documents import read_document
from pagefold.engine.intake.contracts.channel_contract_diff import channel_contract_changes
from pagefold.engine.intake.contracts.contract_diff import Change
from pagefold.engine.intake.contracts.export_rows import Damaged, Format, export_rows
from pagefold.engine.intake.contracts.requirement_diff import requirement_changes
from pagefold.engine.reading.contract_preview import ContractPreview, Preview
from pagefold.engine.runtime.event_loop import run
from pagefold.projections.channel_contracts import CompiledContract, parse_contract

Kind: TypeAlias = Literal["source", "channel", "requirements"]
"""What a document is: the contract of a source, that of a channel, or a requirement set."""

NO_LOCALES = ("und",)
"""The locales of a contract that no channel names."""

MAX_SHOWN = 20
_SIGNS: dict[Kind, tuple[str, ...]] = {
    "channel": ("attributes", "fields", "others"),
    "requirements": ("requires", "checks", "families"),
}


class ListedChannelContract(NamedTuple):
    """A contract, and the channels that name it."""

    contract: str
    channels: str


def kind_of(file: Path) -> Kind:
    """What a TOML file is. Raises `ConfigurationError` if it cannot be read."""
    document = read_document(file, lambda document, _: document)
    if any(domain.name in document for domain in DOMAINS):
        return "source"
    return next((kind for kind, keys in _SIGNS.items() if any(key in document for key in keys)), "source")


def listed_channel_contracts(config: Config) -> list[ListedChannelContract]:
    """The contracts of channels. Different ones may have the same name and version."""
    found: dict[bytes, list[str]] = {}
    identities: dict[bytes, str] = {}
    for name, channel in config.channels.items():
        if isinstance(channel.contract, dict):
            written = msgspec.json.encode(channel.contract, order="deterministic")
            identities[written] = _identity(channel.contract)
            found.setdefault(written, []).append(name)
    return [ListedChannelContract(identities[written], ", ".join(channels)) for written, channels in found.items()]


def run_channel_examples(config: Config, file: Path) -> int:
    """Runs the examples of a channel contract, for each channel that names it."""
    document = read_contract(file)
    contract = parse_contract(document)
    locales = {resolved_locales(each) for each in config.channels.values() if _is_named(each.contract, contract.name)}
    failed = {
        each.number: each
        for chain in sorted(locales) or [NO_LOCALES]
        for each in failed_contract_examples(document, chain)
    }
    for number, each in sorted(failed.items()):
        print_error(f"example {number}: expected {_json(each.expected)}, got {_json(each.found)}")
    print_message(f"{contract.identity}: {count(len(contract.examples), 'example')}, {len(failed)} failed")
    return Exit.REFUSED if failed else Exit.DONE


def _is_named(written: object, name: str) -> bool:
    return isinstance(written, dict) and written.get("name") == name


class Compared(NamedTuple):
    """Two documents with their names and versions, and what changed between them."""

    before: str
    after: str
    changes: list[Change]


def compared_documents(old: Path, new: Path, kind: Kind) -> Compared:
    """Compares two channel contracts or two requirement sets. Raises `ConfigurationError`."""
    read, compare = (
        (read_contract, channel_contract_changes) if kind == "channel" else (read_requirements, requirement_changes)
    )
    before, after = read(old), read(new)
    return Compared(_identity(before), _identity(after), compare(before, after))


def _identity(document: Document) -> str:
    return f"{document['name']}@{document.get('version', 1)}"


class CheckOptions(NamedTuple):
    """What a check of a channel contract takes: a file in place of the configured one, how many samples, the form."""

    contract: Path | None
    samples: int
    as_json: bool


def check_channel_contract(
    config: Config, channel: str, export: str | None, kind: Format, options: CheckOptions
) -> int:
    """Shows what a channel's contract makes of the products of the store, or of catalog payloads in a file."""
    preview, identity = _preview(config, channel, options)
    if export is None:
        run(lambda: _read_store(config, preview))
    else:
        rows = ((line, row) for line, row in export_rows(export, kind) if not isinstance(row, Damaged))
        preview.add_payloads(rows)
    found = preview.found
    if options.as_json:
        write_json({"contract": identity, "channel": channel, **_document(found)})
    else:
        _show(found)
        print_message(f"{identity} in {channel}: {count(found.products, 'product')}, {found.unready:,} not ready")
    return Exit.REFUSED if found.unmapped or found.refused else Exit.DONE


def _preview(config: Config, channel: str, options: CheckOptions) -> tuple[ContractPreview, str]:
    if channel not in config.channels:
        raise UsageError("--channel", unknown_channel(channel, config))
    settings = msgspec.structs.replace(config.channels[channel], incomplete="show")
    if options.contract is not None:
        settings = msgspec.structs.replace(settings, contract=read_contract(options.contract))
    if not isinstance(settings.contract, dict):
        raise UsageError("--contract", f"is needed: the configuration names none for the channel {channel}")
    locales = resolved_locales(settings)
    contract = CompiledContract(parse_contract(settings.contract), locales, transform_registry())
    [resolved] = [each for each in config.resolved_channels if each.name == channel]
    view = channel_view(settings, locales, config.day)
    assert view is not None  # noqa: S101  # it has a contract
    return ContractPreview(resolved, view, contract, options.samples), contract.identity


async def _read_store(config: Config, preview: ContractPreview) -> int:
    async with pagefold.open(config, create=False) as shop:
        await preview.add_store(shop.store)
    return Exit.DONE


def _show(found: Preview) -> None:
    for sample in found.samples:
        print(f"{sample.sku}: {'no page' if sample.section is None else sample.section.decode()}")
    if found.samples:
        print()
    rows = [
        (name, f"{number:,}", percent(number * 100 / found.products)) for name, number in sorted(found.shown.items())
    ]
    show_table(["attribute", "products", "share"], rows, numbers={"products", "share"})
    for line in _remarks(found):
        print_message(line)


def _remarks(found: Preview) -> Iterator[str]:
    if found.refused:
        yield f"refused {found.refused:,}: {found.first_refusal}"
    for (name, value), number in found.unmapped.most_common(MAX_SHOWN):
        yield f"{name}: {value} cannot be mapped: {count(number, 'product')}"
    for name, number in found.left_out.most_common(MAX_SHOWN):
        yield f"not shown: {name}, of {count(number, 'product')}"


def _document(found: Preview) -> dict[str, object]:
    return {
        "products": found.products,
        "unready": found.unready,
        "shown": dict(found.shown),
        "notShown": dict(found.left_out),
        "unmapped": [{**value._asdict(), "count": number} for value, number in found.unmapped.most_common()],
        "refused": found.refused,
        "samples": [
            {"sku": each.sku, "section": None if each.section is None else json.loads(each.section)}
            for each in found.samples
        ],
    }


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
