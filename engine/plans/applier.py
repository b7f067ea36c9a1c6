"""Applies configurations: by themselves at a start where that takes nothing away, else only when a person says so."""

from collections.abc import Callable

from pagefold.domains import DOMAINS
from pagefold.engine.applied.applied_configuration import AppliedConfiguration
from pagefold.engine.applied.applied_log import NEVER, Applied
from pagefold.engine.audit.audit_log import AuditLog
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.page_settings import PageSettings
from pagefold.engine.errors import CountChanged, PlanOutdated
from pagefold.engine.folding.logged_spellings import spelled_sources
from pagefold.engine.intake.operators import check_operator, check_reason
from pagefold.engine.plans.kept_plans import KeptPlans
from pagefold.engine.plans.page_view import PageView
from pagefold.engine.plans.plan import Plan
from pagefold.engine.plans.planner import OnPlanned
from pagefold.engine.plans.planner_pool import ignore, plan_pages
from pagefold.engine.plans.saved_plan import SavedPlan, fingerprints_of
from pagefold.engine.runtime.clock import now, today
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.stores.store import Store

STARTED = "pagefold"
"""Who applies a configuration at a start."""

log = Logger(__name__)


class Applier:
    """Applies configurations to one store, and plans what they would change."""

    def __init__(self, store: Store, applied: AppliedConfiguration) -> None:
        self._store = store
        self._audit = AuditLog(store.audit)
        self._applied = applied
        self.plans = KeptPlans(store)

    async def apply_first(self) -> None:
        """Applies the file if nothing was ever applied."""
        await self._applied.refresh()
        if self._applied.newest is None:
            await self._append(self._applied.wanted(), NEVER, STARTED, "the first start")

    async def apply_file(self) -> None:
        """Applies the file, as its `apply` says, if it says something else than what counts.

        If it is held, that is logged, and its plan is kept for a person, who may refuse it.
        """
        await self.apply_first()
        file, number = self._applied.file, self._applied.number
        if not self._applied.is_held:
            return
        if file.apply == "never":
            log.warning("the configuration of the file is not applied: `pagefold plan` shows what would change")
            return
        before, settings = self._applied.config, self._applied.wanted()
        if file.apply == "safe" and not same_pages(before, file.under(settings)):
            known = await self.plans.of_settings(settings.written.digest, number)
            if known is not None and known.state == "refused":
                log.warning("the configuration of the file is refused", plan=known.plan, by=known.decided_by)
                return
            saved = await self.plan(settings)
            if saved.plan.excess:
                _log_held(saved.plan, (await self.plans.note(saved, STARTED)).plan)
                return
        await self._append(settings, number, STARTED, "a start with changed files")

    async def apply_day(self) -> None:
        """Applies the requirement sets that count from today on, if any count from a newer day than the last time."""
        newest = self._applied.newest
        if newest is None:
            return
        settings = newest.record.settings.on(today())
        if settings.day > newest.record.settings.day:
            await self._append(settings, newest.number, STARTED, f"requirement sets that count from {settings.day} on")

    async def plan(
        self,
        settings: PageSettings,
        *,
        on_planned: OnPlanned = ignore,
        every_change: bool = False,
        processes: int | None = 1,
    ) -> SavedPlan:
        """What would change if settings were applied, as `plan_pages`."""
        await self._applied.refresh()
        number, before = self._applied.number, self._applied.config
        after = before.under(settings)
        log_id, position = await self._store.proof.log_id(), await self._store.log.end()
        plan = await plan_pages(
            self._store,
            *views(before, after),
            on_planned=on_planned,
            every_change=every_change,
            processes=processes,
        )
        return SavedPlan(log_id, number, position, fingerprints_of(after), now(), settings, plan)

    async def apply(self, plan: SavedPlan, *, by: str, reason: str, expected: int | None = None) -> Applied:
        """Applies the settings of a plan.

        Raises `PlanOutdated` if something else counts by now, `CountChanged` if it takes something from another number
        of live pages than `expected`, and `Rejected` for a name or reason that is blank or no text.
        """
        check_operator(by)
        check_reason(reason)
        async with self._audit.action("apply", plan.settings.written.digest, by=by, reason=reason) as action:
            action.details |= {"changed": plan.plan.changed, "taken": plan.plan.taken}
            if expected is not None and expected != plan.plan.taken:
                raise CountChanged(expected, plan.plan.taken)
            return await self._apply(plan, by, reason)

    async def _apply(self, plan: SavedPlan, by: str, reason: str) -> Applied:
        await self._applied.refresh()
        plan.check(await self._store.proof.log_id(), self._applied.number, self._applied.config)
        if not await self._append(plan.settings, plan.number, by, reason) or self._applied.newest is None:
            reason = "another configuration was applied just now"
            raise PlanOutdated(reason)
        await self.plans.applied(plan, by=by, reason=reason)
        return self._applied.newest

    async def change(self, make: Callable[[], PageSettings], *, by: str, reason: str) -> Applied:
        """Applies what `make` makes of what counts, which is known to it; again if others were applied meanwhile.

        Raises `Rejected` as `apply`.
        """
        check_operator(by)
        check_reason(reason)
        await self.apply_first()
        while (done := await self._appended(make(), self._applied.number, by, reason)) is None:
            pass
        return done

    async def _append(self, settings: PageSettings, number: int, by: str, reason: str) -> bool:
        """Applies settings after a number. False if others were applied meanwhile."""
        return await self._appended(settings, number, by, reason) is not None

    async def _appended(self, settings: PageSettings, number: int, by: str, reason: str) -> Applied | None:
        done = await self._applied.log.append(settings, after=number, by=by, reason=reason)
        await self._applied.refresh()
        return done


def views(before: Config, after: Config) -> tuple[PageView, PageView]:
    """The views of all pages under the configuration that counts, and under another one."""
    return PageView(before, spelled_sources(before, before)), PageView(after, spelled_sources(before, after))


def same_pages(before: Config, after: Config) -> bool:
    """Whether two configurations certainly give the same pages."""
    requires = [{each.name: each.requires for each in config.resolved_channels} for config in (before, after)]
    return requires[0] == requires[1] and all(before.fingerprint(each) == after.fingerprint(each) for each in DOMAINS)


def _log_held(plan: Plan, kept_as: str) -> None:
    log.warning(
        "the configuration of the file is not applied: it takes something from too many live pages",
        pages=plan.taken,
        of=plan.live,
        channels=plan.excess,
        plan=kept_as,
        remedy=f"`pagefold plans show {kept_as}` shows them; `pagefold apply` or `pagefold plans refuse` decides",
    )
