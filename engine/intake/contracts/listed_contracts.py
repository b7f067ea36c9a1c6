"""The contracts of a configuration, as lists show them: of every entrance of every source, the invalid ones too."""

from typing import NamedTuple

from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.source_contracts import (
    DEFAULTS,
    ContractKey,
    Entrance,
    contract_key,
    has_entrance,
    source_contract,
)


class ListedContract(NamedTuple):
    """The contract of an entrance: where it is written; and compiled, or the problem why it cannot be used."""

    source: str
    entrance: Entrance
    written: str
    contract: Contract | None
    problem: str

    @property
    def name(self) -> str:
        """Its name and version; empty if it cannot be used."""
        return "" if self.contract is None else self.contract.identity


def listed_contracts(config: Config) -> list[ListedContract]:
    """The contracts of all entrances of all sources, in the file's order."""
    return [
        _listed(config, source, entrance, key)
        for source in config.sources
        for entrance in DEFAULTS
        if has_entrance(config, source, entrance) and (key := contract_key(config, source, entrance)) is not None
    ]


def _listed(config: Config, source: str, entrance: Entrance, key: ContractKey) -> ListedContract:
    written = key.given if isinstance(key.given, str) else "in the configuration"
    try:
        contract, problem = source_contract(config, source, entrance), ""
    except ConfigurationError as error:
        contract, problem = None, str(error)
    return ListedContract(source, entrance, written, contract, problem)
