"""A plan in a file: what it would change, and what it began from, so that one that is out of date is refused."""

import os
from pathlib import Path
from typing import Self

import msgspec

from pagefold.domains import DOMAINS
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.page_settings import PageSettings
from pagefold.engine.errors import PlanOutdated, UnreadablePlan
from pagefold.engine.plans.plan import Plan


class SavedPlan(msgspec.Struct, frozen=True, rename="camel"):
    """The plan of `settings`, from the configuration with the `number` that counted in the log `log_id`.

    `fingerprints` are those of the domains, by which another release is known. `planned_at` is UTC text.
    """

    log_id: str
    number: int
    position: int
    fingerprints: dict[str, str]
    planned_at: str
    settings: PageSettings
    plan: Plan

    @classmethod
    def load(cls, file: str | os.PathLike[str]) -> Self:
        """The plan in a file. Raises `UnreadablePlan`."""
        try:
            return msgspec.json.decode(Path(file).read_bytes(), type=cls)
        except (OSError, msgspec.MsgspecError) as error:
            raise UnreadablePlan(os.fspath(file), str(error)) from error

    def save(self, file: str | os.PathLike[str]) -> None:
        """Writes the plan to a file. Raises `OSError`."""
        Path(file).write_bytes(msgspec.json.encode(self) + b"\n")

    def check(self, log_id: str, number: int, config: Config) -> None:
        """Raises `PlanOutdated` if it began from another log, configuration or release."""
        if log_id != self.log_id:
            reason = "it was made for another log"
        elif number != self.number:
            reason = f"it began from configuration {self.number}, and {number} counts now"
        elif fingerprints_of(config.under(self.settings)) != self.fingerprints:
            reason = "it was made by another release"
        else:
            return
        raise PlanOutdated(reason)


def fingerprints_of(config: Config) -> dict[str, str]:
    """The fingerprint of each domain."""
    return {domain.name: config.fingerprint(domain) for domain in DOMAINS}
