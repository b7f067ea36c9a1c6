"""Whether a shop works, for a program that embeds it."""

from collections.abc import Sequence

import msgspec

from pagefold.engine.consumers.background_work import BackgroundWork, WorkersState
from pagefold.engine.reading.check_results import INGEST, CheckResult, are_ready


class Health(msgspec.Struct, frozen=True):
    """The health of a shop: `ok` if every check with a purpose is. `workers` is one where the program runs them.

    `workers` is `off` where the program has not requested them, `stopped` after an error that is not retried.
    """

    ok: bool
    workers: WorkersState
    checks: Sequence[CheckResult]

    @classmethod
    def of(cls, workers: BackgroundWork, checks: Sequence[CheckResult]) -> "Health":
        """The health that the results of checks and the state of the workers add up to."""
        if workers.state != "off":
            found = CheckResult("workers", INGEST, workers.problem is None, workers.problem)
            checks = [*checks, found]
        return cls(are_ready(checks), workers.state, checks)

    @property
    def problems(self) -> list[str]:
        """What is wrong, one sentence for each check that is not `ok`."""
        return [f"{check.name}: {check.problem}" for check in self.checks if not check.ok]
