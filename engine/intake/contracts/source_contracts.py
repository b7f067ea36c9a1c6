"""The contracts of a configuration: which one the records of a source are read by, at each of its entrances."""

import tomllib
from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from typing import Literal, NamedTuple, TypeAlias, TypedDict

import msgspec

from pagefold.domains import DOMAINS
from pagefold.domains.domain import InvalidPayload
from pagefold.domains.values import check_currency
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.toml_lines import KeyLines
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.contract_examples import failed_examples
from pagefold.engine.intake.contracts.contract_head import Form
from pagefold.engine.intake.contracts.fetched_tables import fetched_tables
from pagefold.engine.intake.contracts.possible_values import possible_values
from pagefold.engine.intake.statement import FREE_NAMES
from pagefold.engine.runtime.extras import needs_extra
from pagefold.projections.transforms import InvalidMapping, LookupTable

MAX_PROBLEMS = 100
"""Problems of one contract that are listed."""

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


def has_snapshot(config: Config, source: str, entrance: Entrance) -> bool:
    """Whether an entrance is that of a snapshot, and the source has one."""
    return entrance == "snapshot" and config.sources[source].snapshot is not None


def form_of(config: Config, source: str, entrance: Entrance) -> Form:
    """The form of the records at an entrance."""
    snapshot = config.sources[source].snapshot
    if entrance == "cdc":
        return "columns"
    if entrance == "snapshot" and snapshot is not None:
        return "columns" if snapshot.kind == "query" or snapshot.file_format == "csv" else "json"
    return "json"


def source_contract(config: Config, source: str, entrance: Entrance, form: Form | None = None) -> Contract | None:
    """The compiled contract of an entrance; None if it has none.

    By default for records of the form that the configuration says. Each call compiles. Raises `ConfigurationError`,
    with the line.
    """
    contract = _compiled(config, source, entrance, form)
    if contract is not None:
        _check_groups(config, contract)
        _check_currencies(contract)
        if entrance == "snapshot":
            _check_whole(contract)
    return contract


def _check_groups(config: Config, contract: Contract) -> None:
    """Raises `ConfigurationError` for a group whose kind the configuration does not know as one of groups."""
    for mapping in contract.statements:
        if mapping.whole is not None and mapping.whole.kind not in config.references.groups:
            key = f"{mapping.key}.whole_of.kind"
            problem = f"{mapping.whole.kind!r:.60} is not among references.groups of the configuration"
            raise ConfigurationError(key, problem, contract.place_of(key))


def _check_currencies(contract: Contract) -> None:
    """Raises `ConfigurationError` for a currency that the contract itself names, and that is none."""
    for mapping in contract.statements:
        for place in mapping.written.places:
            named = possible_values(place.mapping, contract.head.tables) if place.path == ("currency",) else None
            for value in sorted(named or ()):
                try:
                    check_currency("currency", value)
                except InvalidPayload as error:
                    key = f"{mapping.key}.currency"
                    raise ConfigurationError(key, error.reason, contract.place_of(key)) from None


def _check_whole(contract: Contract) -> None:
    """Raises `ConfigurationError` for parts of records: what is compared with the log has to be all of a record."""
    for mapping in contract.statements:
        if mapping.written.partial:
            key = f"{mapping.key}.partial"
            problem = "is not for snapshots, whose rows are whole records; give the other entrance its own contract"
            raise ConfigurationError(key, problem, contract.place_of(key))


def parts_problem(config: Config, source: str, contract: Contract | None) -> ConfigurationError | None:
    """What is wrong between what a contract joins, and the requests or files that a snapshot has beside its own."""
    settings = config.sources[source].snapshot
    needed = frozenset[str]() if contract is None or contract.join is None else contract.join.parts
    given = frozenset[str]() if settings is None else frozenset(settings.more)
    key = f"sources.{source}.snapshot.more"
    for name in sorted(needed - given):
        return config.error(f"{key}.{name}", "is required: the contract joins its records")
    for name in sorted(given - needed):
        return config.error(f"{key}.{name}", "is joined by no role of the contract: [join.with.…] from names it")
    return None


class _Arguments(TypedDict):
    """What a contract has to know of its shop."""

    source: str
    channels: Collection[str]
    form: Form
    defaults: Mapping[str, str]
    writers: Mapping[str, Collection[str]]
    fetched: Mapping[str, LookupTable]


def _arguments(config: Config, source: str, entrance: Entrance, form: Form | None = None) -> _Arguments:
    return {
        "source": source,
        "channels": config.channels,
        "form": form or form_of(config, source, entrance),
        "defaults": DEFAULTS[entrance],
        "writers": {domain.name: config.sources_of(domain.name) for domain in DOMAINS},
        "fetched": fetched_tables(config, source),
    }


def _compiled(config: Config, source: str, entrance: Entrance, form: Form | None) -> Contract | None:
    found = contract_key(config, source, entrance)
    return None if found is None else _compile(config, found, _arguments(config, source, entrance, form))


def _compile(config: Config, found: ContractKey, arguments: _Arguments) -> Contract:
    if isinstance(found.given, str):
        return Contract.load(config.folder / found.given, **arguments)
    try:
        with needs_extra("the contract", "contracts"):
            contract = Contract(found.given, folder=config.folder, **arguments)
    except InvalidMapping as error:
        raise _inline_error(config, found, error) from None
    contract.place_of = lambda key: config.error(f"{found.key}.{key}", "").place
    return contract


def _inline_error(config: Config, found: ContractKey, error: InvalidMapping) -> ConfigurationError:
    return config.error(f"{found.key}.{error.key}" if error.key else found.key, error.problem)


def required_contract(config: Config, source: str, entrance: Entrance) -> Contract:
    """The same for an entrance that must have one. Raises `ConfigurationError`."""
    contract = source_contract(config, source, entrance)
    if contract is None:
        problem = "is required: what the records say; pagefold contracts generate writes a draft"
        raise config.error(f"sources.{source}.{entrance}.contract", problem)
    return contract


def notified_contract(config: Config, source: str, entrance: Entrance) -> Contract | None:
    """The same for an entrance that may have fetches instead: None if that has only those."""
    return None if _only_fetches(config, source, entrance) else required_contract(config, source, entrance)


def fetch_contract(config: Config, source: str, rule: str) -> Contract:
    """The compiled contract of a fetch: its own, else that of the snapshot. Raises `ConfigurationError`."""
    key, own = f"sources.{source}.{rule}.contract", config.sources[source].fetches[rule].contract
    found = contract_key(config, source, "snapshot") if own is None else ContractKey(key, own)
    if found is None:
        raise config.error(key, "is required: what the records say")
    contract = _compile(config, found, _arguments(config, source, "snapshot", "json"))
    _check_groups(config, contract)
    return contract


def invalid_contracts(config: Config, sources: Collection[str] | None = None) -> list[ConfigurationError]:
    """What is wrong with the contracts of some sources, or of all."""
    problems: dict[str, ConfigurationError] = {}
    for source in config.sources if sources is None else sources:
        for entrance in _entrances(config, source):
            for problem in _problems(config, source, entrance):
                problems.setdefault(str(problem), problem)
        for rule in config.sources[source].fetches:
            try:
                fetch_contract(config, source, rule)
            except ConfigurationError as error:
                problems.setdefault(str(error), error)
    return list(problems.values())


def _entrances(config: Config, source: str) -> list[Entrance]:
    """The entrances of a source; as if it had a snapshot where it has none, but a contract."""
    found = [
        entrance
        for entrance in DEFAULTS
        if has_entrance(config, source, entrance) and not _only_fetches(config, source, entrance)
    ]
    return found or (["snapshot"] if config.sources[source].contract is not None else [])


def _only_fetches(config: Config, source: str, entrance: Entrance) -> bool:
    """Whether an entrance needs no contract: it only has fetches."""
    has_fetches = any(name.startswith(f"{entrance}.") for name in config.sources[source].fetches)
    return has_fetches and contract_key(config, source, entrance) is None


def _problems(config: Config, source: str, entrance: Entrance) -> Iterator[ConfigurationError]:
    """Every problem of a contract: what has one is left out, and the rest is compiled again."""
    try:
        contract = source_contract(config, source, entrance)
    except ConfigurationError as error:
        yield error
        first = error
    else:
        problem = parts_problem(config, source, contract) if has_snapshot(config, source, entrance) else None
        yield from () if problem is None else [problem]
        yield from () if contract is None else _example_problems(contract)
        return
    found = contract_key(config, source, entrance)
    if found is None:
        return
    file = config.folder / found.given if isinstance(found.given, str) else None
    try:
        text = "" if file is None else file.read_text(encoding="utf-8-sig")
        document = deepcopy(found.given) if isinstance(found.given, dict) else tomllib.loads(text)
    except (OSError, ValueError):
        return  # that is the problem
    key, arguments = first.key.removeprefix(f"{found.key}."), _arguments(config, source, entrance)
    for _ in range(MAX_PROBLEMS):
        if not _leave_out(document, key) or not any(domain.name in document for domain in DOMAINS):
            return
        try:
            Contract(document, folder=config.folder if file is None else file.parent, **arguments)
        except InvalidMapping as error:
            key = error.key
            line = KeyLines(text).line_of(key)
            place = f"{file}:{line}" if line else str(file)
            yield _inline_error(config, found, error) if file is None else ConfigurationError(key, error.problem, place)
        else:
            return


def _example_problems(contract: Contract) -> Iterator[ConfigurationError]:
    """The examples that a contract fails."""
    for each in failed_examples(contract):
        key = f"examples[{each.number - 1}]"
        made = [msgspec.json.encode(value).decode() for value in (each.expected, each.found)]
        yield ConfigurationError(
            key, f"of {contract.identity}: expected {made[0]}, got {made[1]}", contract.place_of(key)
        )


def _leave_out(document: dict[str, object], key: str) -> bool:
    """Removes a place from a contract, or what is around it. False if there is nothing to remove."""
    table, names = document, key.split(".")
    deepest = 2 if len(names) > 1 and names[1] in FREE_NAMES else 1
    for depth, name in enumerate(names):
        inner = table.get(name)
        if inner is None:
            return False
        rest = names[depth + 1 :]
        tables = inner if isinstance(inner, list) else [inner]
        next_table = next((each for each in tables if isinstance(each, dict) and rest and rest[0] in each), None)
        if next_table is None or depth == deepest:
            del table[name]
            return True
        table = next_table
    return False
