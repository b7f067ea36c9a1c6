"""The documents of a target: its contract and its filter, read from files, so that they are complete without them."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from pagefold.engine.configuration.channel_config import ChannelConfig, FilterConfig
from pagefold.engine.configuration.channel_documents import (
    Document,
    channel_contract,
    check_examples,
    resolved_locales,
    transform_registry,
    with_categories_below,
)
from pagefold.engine.configuration.target_config import TargetConfig
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.runtime.extras import needs_extra
from pagefold.projections.category_trees import CategoryForest


class InlinedTarget(NamedTuple):
    """A target whose documents are in the configuration itself, without those that have problems."""

    target: TargetConfig
    problems: list[ConfigurationError]


def with_target_documents(
    key: str,
    target: TargetConfig,
    folder: Path,
    forests: Mapping[str, CategoryForest],
    channels: Mapping[str, ChannelConfig],
) -> InlinedTarget:
    """The target with its filter, and with the contract that it names, for the locales of its channels.

    `channels` have their own documents already. Files are relative to `folder`.
    """
    if target.contract is None and not target.filters:
        return InlinedTarget(target, [])
    own = {name: each for name, each in channels.items() if not target.channels or name in target.channels}
    problems: list[ConfigurationError] = []
    filters: dict[str, FilterConfig] = {}
    contract: Document | None = None
    with needs_extra("[targets.X] contract and filters", "contracts"):
        from pagefold.projections.transforms.errors import InvalidMapping  # noqa: PLC0415  # its packages are an extra
    try:
        filters = _filters(f"{key}.filters", target.filters, forests, own)
    except ConfigurationError as error:
        problems.append(error)
    except InvalidMapping as error:
        problems.append(ConfigurationError(f"{key}.{error.key}", error.problem))
    try:
        contract = _contract(f"{key}.contract", target.contract, folder, own)
    except ConfigurationError as error:
        problems.append(error)
    except InvalidMapping as error:
        problems.append(ConfigurationError(f"{key}.contract", f"{error.key}: {error.problem}"))
    return InlinedTarget(msgspec.structs.replace(target, filters=filters, contract=contract), problems)


def _filters(
    key: str,
    rules: Mapping[str, FilterConfig],
    forests: Mapping[str, CategoryForest],
    channels: Mapping[str, ChannelConfig],
) -> dict[str, FilterConfig]:
    """The filter with all categories and families below those that it names. Raises as `with_categories_below`.

    Raises `InvalidMapping`, too.
    """
    from pagefold.projections.channel_filters import Filters  # noqa: PLC0415  # its packages are an extra
    from pagefold.projections.requirement_sets import upwards  # noqa: PLC0415  # likewise

    above = {
        family: parent
        for channel in channels.values()
        for each in channel.requirements
        if isinstance(each, dict) and isinstance(families := each.get("families"), dict)
        for family, parent in families.items()
    }
    found = with_categories_below(key, rules, forests)
    for rule in found.values():
        for table in (rule.only, rule.without):
            if isinstance(named := table.get("@family"), list):
                below = (each for each in sorted(above) if any(name in named for name in upwards(each, above)))
                table["@family"] = list(dict.fromkeys([*filter(_is_text, named), *below]))
    Filters(msgspec.to_builtins(found))
    return found


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _contract(
    key: str, written: str | Document | None, folder: Path, channels: Mapping[str, ChannelConfig]
) -> Document | None:
    """The contract and the locales of each channel. Raises `ConfigurationError`, and `InvalidMapping`."""
    if written is None:
        return None
    for name, channel in channels.items():
        if channel.contract is not None:
            problem = f"the channel {name!r} has a contract: its pages have its names; name channels without one"
            raise ConfigurationError(key, problem)
    from pagefold.projections.channel_contracts import CompiledContract, parse_contract  # noqa: PLC0415  # an extra

    document = channel_contract(key, written, folder, {})
    locales = {name: list(resolved_locales(channel)) for name, channel in channels.items()}
    for each in locales.values():
        CompiledContract(parse_contract(document), each, transform_registry())
        check_examples(document, each)
    return {"document": {name: value for name, value in document.items() if name != "examples"}, "locales": locales}
