"""Replays the pages of several domains side by side: their scans are shared, and so are the processes that help."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from pagefold.domains import AnyDomain
from pagefold.engine.configuration.config import Config
from pagefold.engine.replay.replayer import OnDrift, OnProgress, Replayer, ReplayResult
from pagefold.engine.replay.section_verifier import SectionVerifier, SharedScans
from pagefold.engine.replay.verifier_pool import VerifierPool, process_count, verifier_pool
from pagefold.engine.runtime.counters import Counters
from pagefold.engine.runtime.task_groups import run_together
from pagefold.engine.stores.store import Store
from pagefold.projections import normalise_sku


class ReplayScope(NamedTuple):
    """What is replayed: domains, and SKUs that begin with a prefix. Without `write`, they are only compared."""

    domains: Sequence[AnyDomain]
    prefix: str
    write: bool


class ReplayReport(NamedTuple):
    """Where a replay reports each difference, the number of sections compared, and what it changed in a domain."""

    on_drift: OnDrift
    on_progress: OnProgress
    counters: Counters


async def replay_domains(
    store: Store, config: Config, scope: ReplayScope, report: ReplayReport, processes: int | None
) -> ReplayResult:
    """Folds the pages of all domains of the scope again under a configuration. `processes` as in `process_count`."""
    found: list[ReplayResult] = []
    scans = SharedScans(store.log, scope.domains, config)

    async def replay(domain: AnyDomain, pool: VerifierPool | None) -> None:
        verifier = SectionVerifier(store, domain, config, scans)
        replayer = Replayer(store, verifier, on_drift=report.on_drift, on_progress=report.on_progress)
        result = await replayer.run(prefix=normalise_sku(scope.prefix), write=scope.write, pool=pool)
        report.counters.add_replay(domain.name, result.changed)
        found.append(result)

    helpers = 1 if scope.prefix else await process_count(store, processes)
    async with verifier_pool(store, config, scope.domains, helpers) as pool:
        await run_together(*(partial(replay, domain, pool) for domain in scope.domains))
    return sum(found, ReplayResult())
