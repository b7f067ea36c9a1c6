"""Whether pages can be read and events be appended now: named checks, each with its problem.

To add one, write a function that gives the problem of a shop, or None, or raises a `StoreError`, which is the problem:

    async def log_is_known(shop: Checked) -> str | None: ...

and put `Check("log-identity", INGEST, log_is_known)` into `CHECKS`. `/readyz/reads`, `/readyz/ingest`, `/readyz`,
`/metrics` and `pagefold status` then have it. A problem is public: it says what is wrong, and not where the store is.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import NamedTuple, Protocol

from pagefold.engine.applied.applied_configuration import AppliedConfiguration
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import StoreError, StoreUnavailable
from pagefold.engine.reading.check_results import INGEST, PURPOSES, READS, CheckResult, Purpose
from pagefold.engine.reading.lag_cache import LagCache
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.runtime.recent_faults import RecentFaults
from pagefold.engine.runtime.store_timeout import TIMEOUT_SECONDS
from pagefold.engine.stores.store import Store

FRESH_SECONDS = 1.0
"""How long a result is reused."""

PAUSE_FACTOR = 50
MIN_PAUSE_SECONDS = 5.0
"""The pause after a slow check: `PAUSE_FACTOR` times its duration, and at least `MIN_PAUSE_SECONDS`."""

log = Logger(__name__)


class Checked(Protocol):
    """The parts of a shop that checks read."""

    @property
    def config(self) -> Config:
        """Its configuration."""

    @property
    def store(self) -> Store:
        """Where its events and pages are kept."""

    @property
    def faults(self) -> RecentFaults:
        """What failed lately."""

    @property
    def applied(self) -> AppliedConfiguration:
        """The configuration that counts."""

    @property
    def lag(self) -> LagCache:
        """How far folding is behind."""


class Check(NamedTuple):
    """One condition. `purposes` are those that need it; a condition without any is named where it does not hold.

    A `slow` check reads much: while it runs, its last result is reported. A `shared` one has the same result in every
    process of a server.
    """

    name: str
    purposes: tuple[Purpose, ...]
    problem: Callable[[Checked], Awaitable[str | None]]
    slow: bool = False
    shared: bool = False


def result_of(check: Check, problem: str | None) -> CheckResult:
    """The result of a check that found this problem, or none."""
    return CheckResult(check.name, check.purposes, problem is None, problem)


# --- the checks -----------------------------------------------------------------------------------


async def pages_can_be_read(shop: Checked) -> str | None:
    """Pages can be read, over every connection that reads may use, and no recent read found damage."""
    await shop.store.check_reads()
    return _public_problem(shop.faults.last("read"))


async def pages_are_whole(shop: Checked) -> None:
    """The pages' file is not damaged, as far as the store can check."""
    await shop.store.check_damage()


async def log_can_be_written(shop: Checked) -> str | None:
    """The log can be read and written, has room, and the last append did not fail."""
    await shop.store.check_appends()
    return _public_problem(shop.faults.last("append"))


async def log_is_known(shop: Checked) -> None:
    """The log is the one that was folded and appended to."""
    await shop.store.proof.prove()


async def consumers_fold(shop: Checked) -> str | None:
    """No consumer of this process has failed since its last success."""
    failing = shop.faults.by_prefix("fold ")
    return "; ".join(f"{domain}: {problem_in(error)}" for domain, error in failing.items()) or None


async def pages_are_up_to_date(shop: Checked) -> str | None:
    """No domain is further behind the log than the configuration allows."""
    limit = shop.config.http.lag_seconds
    behind = [each for each in (await shop.lag.progress()).domains if each.lag_seconds > limit]
    problems = [f"{each.domain} is {each.lag_seconds:.0f} s behind, more than {limit:g} s" for each in behind]
    return "; ".join(problems) or None


async def file_is_applied(shop: Checked) -> str | None:
    """The channels and sources of the file are those that pages are folded under."""
    await shop.applied.refresh()
    if not shop.applied.is_held:
        return None
    return (
        f"pages are folded under configuration {shop.applied.number}, and the file has other channels or sources: "
        "`pagefold plan` shows what would change, `pagefold apply` applies it"
    )


CONSUMERS = Check("consumers", INGEST, consumers_fold)
LOG = Check("log", INGEST, log_can_be_written)

CHECKS = (
    Check("pages", READS, pages_can_be_read),
    Check("damage", READS, pages_are_whole, slow=True),
    LOG,
    Check("log-identity", INGEST, log_is_known),
    CONSUMERS,
    Check("lag", INGEST, pages_are_up_to_date, shared=True),
    Check("configuration", (), file_is_applied, shared=True),
)
"""Every check, in the order in which they are reported."""

QUICK_CHECKS = tuple(check for check in CHECKS if not check.slow)


# --- running them ---------------------------------------------------------------------------------


def concerns(needed_for: Collection[Purpose], purposes: Collection[Purpose]) -> bool:
    """Whether a check is among those for some purposes. One for none in particular is among those for all."""
    return not set(needed_for).isdisjoint(purposes) if needed_for else set(purposes) == set(PURPOSES)


class Readiness:
    """Runs the checks of one shop: each at most once a second and once at a time, whatever the number of callers.

    A caller waits up to `TIMEOUT_SECONDS`. A check that takes longer is itself a problem, unless it is a slow one.
    """

    def __init__(self, shop: Checked, checks: Sequence[Check] = CHECKS) -> None:
        self._runs = [_Run(shop, check) for check in checks]

    async def results(self, purposes: Collection[Purpose] = PURPOSES) -> list[CheckResult]:
        """The results of the checks for any of these purposes."""
        runs = [run for run in self._runs if concerns(run.check.purposes, purposes)]
        waiting = [task for run in runs if (task := run.begin()) is not None]
        if waiting:
            await asyncio.wait(waiting, timeout=TIMEOUT_SECONDS)
        return [result_of(run.check, run.problem()) for run in runs]

    async def close(self) -> None:
        """Cancels running checks, and waits up to `TIMEOUT_SECONDS` for them."""
        tasks = [run.task for run in self._runs if run.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=TIMEOUT_SECONDS)


class _Run:
    """A check, the task that runs it, and its last result."""

    def __init__(self, shop: Checked, check: Check) -> None:
        self.check = check
        self.task: asyncio.Task[None] | None = None
        self._shop = shop
        self._found: str | None = None
        self._begun = 0.0
        self._fresh_until = 0.0

    def begin(self) -> asyncio.Task[None] | None:
        """The task that runs the check; None while the last result is fresh."""
        if self.task is None and time.monotonic() >= self._fresh_until:
            self._begun = time.monotonic()
            self.task = asyncio.create_task(self._run())
        return self.task

    def problem(self) -> str | None:
        """The last known problem."""
        if self.task is None or self.check.slow:
            return self._found
        return f"there was no answer within {time.monotonic() - self._begun:.1f} s"

    async def _run(self) -> None:
        try:
            self._found = await self.check_now()
        finally:
            self.task = None
            taken = time.monotonic() - self._begun
            rest = max(MIN_PAUSE_SECONDS, PAUSE_FACTOR * taken) if self.check.slow else FRESH_SECONDS
            self._fresh_until = time.monotonic() + rest

    async def check_now(self) -> str | None:
        """The problem now."""
        try:
            return await self.check.problem(self._shop)
        except StoreError as error:
            return problem_in(error)
        except Exception as error:
            log.error("a check failed", check=self.check.name, exc_info=error)  # noqa: TRY400  # ours has no other
            return problem_in(error)


async def results_of(shop: Checked) -> list[CheckResult]:
    """The results of all checks that are not slow, each run once, without a time limit."""
    return [result_of(check, await _Run(shop, check).check_now()) for check in QUICK_CHECKS]


# --- problems ------------------------------------------------------------------------------------

_CAUSES = {
    "FullError": "the disk is full",
    "DiskFullError": "the disk is full",
    "TooManyConnectionsError": "the database takes no more connections",
    "CorruptError": "a file of the store is damaged",
    "NotADBError": "a file of the store is damaged",
    "DataCorruptedError": "a table of the store is damaged",
    "IndexCorruptedError": "an index of the store is damaged",
}
"""The meaning of drivers' errors, by class name."""


def problem_in(error: Exception) -> str:
    """The public description of an error, which does not say where the store is."""
    cause = type(error.__cause__).__name__ if error.__cause__ is not None else ""
    if isinstance(error, StoreError) and error.public_message is not None:
        return error.public_message
    if cause in _CAUSES:
        return _CAUSES[cause]
    kind = "unavailable" if isinstance(error, StoreUnavailable) else type(error).__name__
    return f"the store cannot be used: {kind}" + (f" ({cause})" if cause else "")


def _public_problem(error: Exception | None) -> str | None:
    return None if error is None else problem_in(error)
