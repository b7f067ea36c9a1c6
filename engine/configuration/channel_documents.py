"""The documents of a channel: its contract and its requirement sets, read from files and the box, and compiled."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgspec

from pagefold.domains.channel_view import ChannelView
from pagefold.domains.locales import canonical_locale
from pagefold.engine.configuration.category_trees import categories_below, tree_of
from pagefold.engine.configuration.channel_config import ChannelConfig, FilterConfig, FilterValue
from pagefold.engine.configuration.csv_tables import UnusableTable
from pagefold.engine.configuration.family_requirements import FamilyTable, family_requirements
from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.runtime.extras import needs_extra
from pagefold.projections.category_trees import CategoryForest, InvalidTree
from pagefold.projections.channels import locale_chain

if TYPE_CHECKING:
    from pagefold.projections.contract_examples import FailedExample
    from pagefold.projections.transforms import InvalidMapping, Registry

REQUIREMENT_SETS = Path(__file__).parent / "requirement_sets"
"""The requirement sets in the box: a file each."""

Document: TypeAlias = dict[str, object]


class InlinedChannel(NamedTuple):
    """A channel whose documents are in the configuration itself, without those that have problems."""

    channel: ChannelConfig
    problems: list[ConfigurationError]


def with_documents(
    key: str,
    channel: ChannelConfig,
    folder: Path,
    forests: Mapping[str, CategoryForest],
    contracts: dict[str, Document],
) -> InlinedChannel:
    """The channel with the documents that it names, and its tree. Files are relative to `folder`.

    `contracts` are those that were read for channels before, by file: one with large tables is read once for all.
    """
    requirements: list[str | Document] = []
    contract: str | Document | None = None
    problems: list[ConfigurationError] = []
    for index, written in enumerate(channel.requirements):
        try:
            requirements.append(_checked(f"{key}.requirements[{index}]", written, folder))
        except ConfigurationError as error:
            problems.append(error)
    try:
        if channel.contract is not None:
            contract = channel_contract(f"{key}.contract", channel.contract, folder, contracts)
    except ConfigurationError as error:
        problems.append(error)
    tree = channel.tree
    if isinstance(tree, str):
        try:
            tree = tree_of(tree, forests, resolved_locales(channel))
        except ConfigurationError as error:
            problems.append(ConfigurationError(f"{key}.tree", error.problem))
            tree = None
    filters: dict[str, FilterConfig] = {}
    try:
        filters = with_categories_below(f"{key}.filters", channel.filters, forests)
    except ConfigurationError as error:
        problems.append(error)
    inlined = msgspec.structs.replace(channel, requirements=requirements, contract=contract, tree=tree, filters=filters)
    together = [] if problems else _problems_together(key, channel, inlined, folder)
    if together:
        inlined = msgspec.structs.replace(
            inlined, requirements=[], contract=None, tree=None, filters={}, incomplete="show"
        )
    if isinstance(inlined.contract, dict):
        shown = {name: value for name, value in inlined.contract.items() if name != "examples"}
        inlined = msgspec.structs.replace(inlined, contract=shown)  # no page depends on examples
    return InlinedChannel(inlined, [*problems, *together])


def with_categories_below(
    key: str, filters: Mapping[str, FilterConfig], forests: Mapping[str, CategoryForest]
) -> dict[str, FilterConfig]:
    """The filter with all categories below those that are in a tree. Raises `ConfigurationError`."""
    found: dict[str, FilterConfig] = {}
    for name, rule in filters.items():
        tables = {"only": dict(rule.only), "without": dict(rule.without)}
        for side, table in tables.items():
            if isinstance(values := table.get("@categories"), list):
                table["@categories"] = _all_below(f"{key}.{name}.{side}.@categories", values, forests)
        found[name] = FilterConfig(only=tables["only"], without=tables["without"])
    return found


def _all_below(key: str, values: Sequence[FilterValue], forests: Mapping[str, CategoryForest]) -> list[FilterValue]:
    found: list[FilterValue] = []
    for value in values:
        try:
            below = categories_below(value, forests) if isinstance(value, str) else None
        except ConfigurationError as error:
            raise ConfigurationError(key, error.problem) from None
        found += [value] if below is None else [each for each in below if each not in found]
    return found


def counting_sets(channel: ChannelConfig, day: str) -> list[Document]:
    """The requirement sets of a channel that count on a day.

    One with `valid_from` counts from that day on, in place of an earlier one of its name.
    """
    documents = _documents(channel)
    begun = [each for each in documents if _begins(each) <= day]
    newest = {name: max(_begins(each) for each in begun if each["name"] == name) for name in _dated_names(begun)}
    return [each for each in begun if _begins(each) == newest.get(str(each["name"]), _begins(each))]


def _documents(channel: ChannelConfig) -> list[Document]:
    return [each for each in channel.requirements if isinstance(each, dict)]


def _begins(document: Document) -> str:
    """The day from which a set counts, empty if it always does."""
    return str(document.get("valid_from", ""))


def _dated_names(documents: Sequence[Document]) -> set[str]:
    return {str(each["name"]) for each in documents if _begins(each)}


def channel_view(channel: ChannelConfig, locales: Sequence[str], day: str = "") -> ChannelView | None:
    """What the channel shows and requires on a day, compiled; None if it says nothing. Raises `InvalidMapping`.

    `locales` are those that it tries for a text, its own first.
    """
    requirements = counting_sets(channel, day)
    contract = channel.contract if isinstance(channel.contract, dict) else None
    tree = channel.tree if isinstance(channel.tree, dict) else None
    if not requirements and contract is None and tree is None and not channel.filters:
        return None
    with needs_extra("[channels.X] contract, requirements, tree and filters", "contracts"):
        from pagefold.projections.channel_views import View  # noqa: PLC0415  # its packages are an extra

    filters = msgspec.to_builtins(channel.filters)
    return View(
        contract, requirements, locales, transform_registry(), incomplete=channel.incomplete, tree=tree, filters=filters
    )


@cache
def transform_registry() -> "Registry":
    """The transforms of this process: built in, and of installed packages."""
    from pagefold.engine.plugins.transform_plugins import load_registry  # noqa: PLC0415  # its packages are an extra

    return load_registry()


def check_examples(contract: Document, locales: Sequence[str]) -> None:
    """Raises `InvalidMapping` for the first example that a channel contract fails in a channel with these locales."""
    from pagefold.projections.transforms.errors import InvalidMapping  # noqa: PLC0415  # its packages are an extra

    for each in failed_contract_examples(contract, locales):
        raise InvalidMapping(
            f"examples[{each.number - 1}]", f"expected {_json(each.expected)}, got {_json(each.found)}"
        )


def failed_contract_examples(contract: Document, locales: Sequence[str]) -> "list[FailedExample]":
    """The examples that a channel contract fails in a channel with these locales. Raises `InvalidMapping`."""
    from pagefold.projections.channel_contracts import parse_contract  # noqa: PLC0415  # its packages are an extra
    from pagefold.projections.contract_examples import failed_examples  # noqa: PLC0415  # likewise

    return list(failed_examples(parse_contract(contract), locales, transform_registry()))


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def resolved_locales(channel: ChannelConfig) -> tuple[str, ...]:
    """The locales that a channel tries for a text, its own first, in canonical form."""
    locale, *fallbacks = [canonical_locale(tag) or tag for tag in (channel.locale, *channel.fallbacks)]
    return locale_chain(locale, fallbacks)


def sets_in_box() -> list[str]:
    """The names of the requirement sets in the box."""
    return sorted(file.stem for file in REQUIREMENT_SETS.glob("*.toml"))


def set_in_box(name: str) -> Path | None:
    """The file of a requirement set in the box, by its name; None if there is none."""
    return REQUIREMENT_SETS / f"{name}.toml" if name in sets_in_box() else None


def read_requirements(file: Path) -> Document:
    """The requirement set in a file. Its name is that of the file, unless it has another.

    Raises `ConfigurationError`, with the line.
    """
    from pagefold.engine.configuration.toml_documents import read_document  # noqa: PLC0415  # packages of an extra
    from pagefold.projections.requirements import parse_requirements  # noqa: PLC0415  # likewise

    def checked(document: Document, _text: str) -> Document:
        parse_requirements(document)
        return document

    return read_document(file, checked)


def _checked(key: str, written: str | Mapping[str, object], folder: Path) -> Document:
    """A requirement set, as a document. Raises `ConfigurationError`."""
    with needs_extra("[channels.X] requirements", "contracts"):
        if isinstance(written, str):
            return _named(key, written, folder)
        if "file" in written:
            return _inline(key, _of_families(key, written, folder))
        return _inline(key, {"name": key, **written})


def _of_families(key: str, written: Mapping[str, object], folder: Path) -> Document:
    """The set of a table of families. Raises `ConfigurationError`."""
    try:
        table = msgspec.convert(written, FamilyTable)
        return family_requirements(table, folder)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        raise ConfigurationError(f"{key}{place.removesuffix('`')}", problem[:1].lower() + problem[1:]) from None
    except UnusableTable as error:
        raise ConfigurationError(f"{key}.{error.setting}", error.problem) from None


def _named(key: str, written: str, folder: Path) -> Document:
    if written.endswith(".toml"):
        return read_requirements(folder / written)
    name, _, version = written.partition("@")
    file = set_in_box(name)
    if file is None:
        known = suggestion(name, sets_in_box(), "sets")
        raise ConfigurationError(key, f"there is no requirement set {name!r:.60}; {known}; a file ends in .toml")
    document = read_requirements(file)
    if version and version != str(document["version"]):
        raise ConfigurationError(key, f"this release has {name}@{document['version']}, and not version {version:.20}")
    return document


def _inline(key: str, document: Document) -> Document:
    from pagefold.projections.requirements import parse_requirements  # noqa: PLC0415  # its packages are an extra
    from pagefold.projections.transforms.errors import InvalidMapping  # noqa: PLC0415  # likewise

    try:
        parse_requirements(document)
    except InvalidMapping as error:
        raise ConfigurationError(f"{key}.{error.key}" if error.key else key, error.problem) from None
    return document


def channel_contract(key: str, written: str | Document, folder: Path, known: dict[str, Document]) -> Document:
    """The contract, as a document. `known` are those that were read before, by file. Raises `ConfigurationError`."""
    with needs_extra("a channel contract", "contracts"):
        from pagefold.engine.configuration.contract_documents import (  # noqa: PLC0415  # its packages are an extra
            checked_contract,
            read_contract,
        )
        from pagefold.projections.transforms.errors import InvalidMapping  # noqa: PLC0415  # likewise
    if isinstance(written, str):
        if written not in known:
            known[written] = read_contract(folder / written)
        return known[written]
    try:
        return checked_contract({"name": key.split(".")[1], **written}, folder)
    except InvalidMapping as error:
        raise ConfigurationError(f"{key}.{error.key}" if error.key else key, error.problem) from None


def _problems_together(
    key: str, written: ChannelConfig, channel: ChannelConfig, folder: Path
) -> list[ConfigurationError]:
    """What is wrong with the documents of a channel once they are compiled: mappings, and families of several sets."""
    named = (channel.contract, channel.tree)
    if not channel.requirements and named == (None, None) and not channel.filters:
        return []
    from pagefold.projections.transforms.errors import InvalidMapping  # noqa: PLC0415  # its packages are an extra

    try:
        for day in ("", *sorted(filter(None, map(_begins, _documents(channel))))):
            channel_view(channel, resolved_locales(channel), day)
        if isinstance(channel.contract, dict):
            check_examples(channel.contract, resolved_locales(channel))
    except InvalidTree as error:
        return [ConfigurationError(f"{key}.tree", str(error))]
    except InvalidMapping as error:
        return [_placed(key, written, folder, error)]
    return []


def _placed(key: str, written: ChannelConfig, folder: Path, error: "InvalidMapping") -> ConfigurationError:
    """The error of a document, with its place in the configuration, or in the file of the contract."""
    from pagefold.engine.configuration.toml_documents import placed_error  # noqa: PLC0415  # an extra

    if error.key.startswith("filters."):
        return ConfigurationError(f"{key}.{error.key}", error.problem)
    if error.key.startswith(("families.", "requirements")):
        place = error.key.removeprefix("requirements")
        return ConfigurationError(f"{key}.requirements", f"{place} {error.problem}".strip())
    if isinstance(written.contract, str):
        file = folder / written.contract
        return placed_error(file, file.read_text(encoding="utf-8-sig"), error)
    return ConfigurationError(f"{key}.contract.{error.key}", error.problem)
