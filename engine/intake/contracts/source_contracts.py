"""The contracts of a configuration: which one the records of a source are read by, at each of its entrances."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

from pagefold.domains import DOMAINS
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.intake.contracts.contract import Contract, Form
from pagefold.engine.runtime.extras import needs_extra
from pagefold.projections.transforms import InvalidMapping

Entrance: TypeAlias = Literal["snapshot", "webhook", "cdc", "cloudevents"]
"""A way in, which has a table of this name in the configuration of a source."""

DEFAULTS: Mapping[Entrance, Mapping[str, str]] = {
    "snapshot": {"occurredAt": "@taken"},
    "webhook": {"occurredAt": "@received"},
    "cdc": {"sourceVersion": "@lsn", "occurredAt": "@committed"},
    "cloudevents": {"id": "id", "occurredAt": "time"},
}
"""Where the fields of an event come from if a contract does not say it."""


class ContractKey(NamedTuple):
    """Where a contract is in the configuration: its key, and what is written there."""

    key: str
    given: str | dict[str, object]


def contract_key(config: Config, source: str, entrance: Entrance) -> ContractKey | None:
    """The contract of an entrance: its own, else that of its source; None if neither has one."""
    settings = config.sources[source]
    own = getattr(getattr(settings, entrance, None), "contract", None)
    if own is not None:
        return ContractKey(f"sources.{source}.{entrance}.contract", own)
    return None if settings.contract is None else ContractKey(f"sources.{source}.contract", settings.contract)


def has_entrance(config: Config, source: str, entrance: Entrance) -> bool:
    """Whether a source has an entrance."""
    return getattr(config.sources[source], entrance, None) is not None


def form_of(config: Config, source: str, entrance: Entrance) -> Form:
    """The form of the records at an entrance."""
    snapshot = config.sources[source].snapshot
    if entrance == "cdc":
        return "columns"
    if entrance == "snapshot" and snapshot is not None:
        return "columns" if snapshot.kind == "query" or snapshot.file_format == "csv" else "json"
    return "json"


def source_contract(config: Config, source: str, entrance: Entrance) -> Contract | None:
    """The compiled contract of an entrance; None if it has none.

    Each call compiles. Raises `ConfigurationError`, with the line.
    """
    contract = _compiled(config, source, entrance)
    if contract is not None:
        _check_groups(config, contract)
    return contract


def _check_groups(config: Config, contract: Contract) -> None:
    """Raises `ConfigurationError` for a group whose kind the configuration does not know as one of groups."""
    for mapping in contract.statements:
        if mapping.whole is not None and mapping.whole.kind not in config.references.groups:
            key = f"{mapping.key}.whole_of.kind"
            problem = f"{mapping.whole.kind!r:.60} is not among references.groups of the configuration"
            raise ConfigurationError(key, problem, contract.place_of(key))


def _compiled(config: Config, source: str, entrance: Entrance) -> Contract | None:
    found = contract_key(config, source, entrance)
    if found is None:
        return None
    channels, defaults, form = config.channels, DEFAULTS[entrance], form_of(config, source, entrance)
    writers = {domain.name: config.sources_of(domain.name) for domain in DOMAINS}
    if isinstance(found.given, str):
        file = config.folder / found.given
        return Contract.load(file, source=source, channels=channels, form=form, defaults=defaults, writers=writers)
    try:
        with needs_extra("the contract", "contracts"):
            contract = Contract(
                found.given,
                source=source,
                channels=channels,
                form=form,
                folder=config.folder,
                defaults=defaults,
                writers=writers,
            )
    except InvalidMapping as error:
        key = f"{found.key}.{error.key}" if error.key else found.key
        raise config.error(key, error.problem) from None
    contract.place_of = lambda key: config.error(f"{found.key}.{key}", "").place
    return contract


def required_contract(config: Config, source: str, entrance: Entrance) -> Contract:
    """The same for an entrance that must have one. Raises `ConfigurationError`."""
    contract = source_contract(config, source, entrance)
    if contract is None:
        problem = "is required: what the records say; pagefold contracts generate writes a draft"
        raise config.error(f"sources.{source}.{entrance}.contract", problem)
    return contract


def invalid_contracts(config: Config) -> list[ConfigurationError]:
    """What is wrong with the contracts of a configuration: of each entrance, the first problem."""
    problems: dict[str, ConfigurationError] = {}
    for source in config.sources:
        for entrance in DEFAULTS:
            if not has_entrance(config, source, entrance):
                continue
            try:
                source_contract(config, source, entrance)
            except ConfigurationError as error:
                problems.setdefault(str(error), error)
    return list(problems.values())
