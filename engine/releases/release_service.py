"""Creates, publishes, schedules and rolls back releases."""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from pagefold.domains import DOMAINS
from pagefold.domains.values import format_timestamp
from pagefold.engine.applied.applied_configuration import AppliedConfiguration
from pagefold.engine.applied.applied_log import Applied
from pagefold.engine.audit.audit_log import AuditAction, AuditLog
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.page_settings import PageSettings
from pagefold.engine.errors import InvalidRelease, ReleaseConflict, UnknownRelease
from pagefold.engine.intake.operators import check_operator, check_reason
from pagefold.engine.plans.applier import Applier
from pagefold.engine.plans.planner import OnPlanned
from pagefold.engine.plans.planner_pool import ignore
from pagefold.engine.plans.saved_plan import SavedPlan
from pagefold.engine.releases.release_comparer import (
    MAX_COMPARED,
    ReleaseComparer,
    ReleaseDifferences,
    next_statements,
)
from pagefold.engine.releases.release_log import Release, ReleaseLog, ReleaseRecord
from pagefold.engine.runtime.clock import now
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.stores.store import Store
from pagefold.projections import skus_of
from pagefold.projections.releases import is_release_name
from pagefold.projections.streams import parse_stream_id

ReleaseState: TypeAlias = Literal["draft", "scheduled", "published"]

Change: TypeAlias = Callable[[list[str]], list[str]]
"""Makes the published releases of those before, highest rank first."""

log = Logger(__name__)


class ReleaseStatus(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A release, and whether it counts. Of several that do, the one of rank 1 is on top; others have no rank."""

    state: ReleaseState
    release: Release
    rank: int | None = None


class ReleaseContent(msgspec.Struct, frozen=True):
    """How many products a release states something about, and how many statements it has, by domain."""

    skus: int
    statements: dict[str, int]


class ReleaseService:
    """The releases of one store.

    A release's statements are those of the source `release/NAME`. Each decision is one event; pages follow as soon as
    workers have folded them.
    """

    def __init__(self, store: Store, applied: AppliedConfiguration, applier: Applier, releases: ReleaseLog) -> None:
        self._audit = AuditLog(store.audit)
        self._store = store
        self._applied = applied
        self._applier = applier
        self._log = releases

    async def all(self) -> Sequence[ReleaseStatus]:
        """All releases, in the order of their creation."""
        await self._applied.refresh()
        return [self._status(each) for each in (await self._log.refresh()).values()]

    async def get(self, name: str) -> ReleaseStatus:
        """One release. Raises `InvalidRelease`."""
        await self._applied.refresh()
        release = await self._known(name)
        return self._status(release)

    def _status(self, release: Release) -> ReleaseStatus:
        published = self._published()
        if release.name in published:
            return ReleaseStatus("published", release, published.index(release.name) + 1)
        return ReleaseStatus("draft" if release.publish_at is None else "scheduled", release)

    async def content(self, name: str) -> ReleaseContent:
        """What a release states. Steps through the names of all streams. Raises `InvalidRelease`."""
        await self._known(name)
        statements: Counter[str] = Counter()
        skus, newest = 0, ""
        after: str | None = ""
        while after is not None:
            heads, after = await next_statements(self._store.log, name, after)
            statements.update(parse_stream_id(head.originator_id).domain for head in heads)
            found = skus_of([head.originator_id for head in heads])
            skus += len(found) - (found[:1] == [newest])  # one may be in two steps
            newest = found[-1] if found else newest
        return ReleaseContent(skus, {each.name: statements[each.name] for each in DOMAINS if statements[each.name]})

    async def differences(self, name: str, after: str = "", limit: int = MAX_COMPARED) -> ReleaseDifferences:
        """What a release changes in the pages of the next SKUs of which it states something, and of their variants.

        As they are with it and without it, whether it is published or not. "" starts; at most `limit` SKUs with
        statements. Raises `InvalidRelease`.
        """
        await self._applied.refresh()
        await self._known(name)
        without = _without(name) if name in self._published() else _same
        counting = self._applied.config
        views = [counting.under(self._settings(each)) for each in (without, _with(name))]
        return await ReleaseComparer(self._store, counting, views[0], views[1]).next(name, after, limit)

    async def create(self, name: str, *, by: str, reason: str) -> Release:
        """Creates a release. From then on, events of the source `release/NAME` are accepted.

        Raises `InvalidRelease` for a name that exists or cannot be one, and `Rejected` for a blank person or reason.
        """
        if not is_release_name(name):
            raise InvalidRelease("name", f"{name!r:.100} is not 1 to 64 letters, digits, '.', '_' and '-'")
        check_operator(by)
        check_reason(reason)
        async with self._audit.action("releases create", name, by=by, reason=reason):
            return await self._created(name, by, reason)

    async def _created(self, name: str, by: str, reason: str) -> Release:
        while name not in await self._log.refresh():
            if await self._log.append(ReleaseRecord("created", name, by, reason, now())):
                return self._log.known[name]
        raise ReleaseConflict("name", f"there is a release {name!r} already")

    async def config_with(self, name: str) -> Config:
        """The configuration that would count if a release were published. Raises `InvalidRelease`."""
        await self._applied.refresh()
        await self._known(name)
        return self._applied.config.under(self._settings(_with(name)))

    async def plan(
        self, name: str, *, on_planned: OnPlanned = ignore, every_change: bool = False, processes: int | None = 1
    ) -> SavedPlan:
        """What would change if a release were published; if it is, what would if it were rolled back.

        As `Shop.plan`. Raises `InvalidRelease`.
        """
        await self._applied.refresh()
        await self._known(name)
        change = _without(name) if name in self._published() else _first(name)
        return await self._applier.plan(
            self._settings(change), on_planned=on_planned, every_change=every_change, processes=processes
        )

    async def publish(self, name: str, *, by: str, reason: str) -> Applied:
        """Lets the statements of a release count from now on, above those of every source and earlier release.

        Raises `InvalidRelease` if it is published, and `Rejected` for a blank person or reason.
        """
        async with self._decision("publish", name, by, reason):
            await self._known(name)
            return await self._change(_first(name), by, reason)

    async def roll_back(self, name: str, *, by: str, reason: str) -> Applied:
        """Lets a release count no longer: pages are as if it had never been published. Its schedule ends, too.

        Raises `InvalidRelease` if it is not published, and `Rejected` for a blank person or reason.
        """
        async with self._decision("rollback", name, by, reason):
            release = await self._known(name)
            if name not in self._published():
                raise ReleaseConflict("name", f"{name!r} is not published")
            if release.publish_at or release.roll_back_at:
                await self._schedule(name, None, None, by, reason)
            return await self._change(_without(name), by, reason)

    async def schedule(
        self, name: str, publish_at: datetime | None, roll_back_at: datetime | None = None, *, by: str, reason: str
    ) -> Release:
        """Publishes a release at a time, and rolls it back at another; None for either is never.

        A worker does it within a second or two of the time. Raises `InvalidRelease` for times that are past, without a
        zone, or in the wrong order, and for a release that is published, which can only have a time to be rolled back.
        """
        async with self._decision("schedule", name, by, reason) as action:
            await self._known(name)
            times = self._times(name, publish_at, roll_back_at)
            action.details |= {"publishAt": times[0], "rollBackAt": times[1]}
            await self._schedule(name, times[0], times[1], by, reason)
            return self._log.known[name]

    def _times(self, name: str, publish_at: datetime | None, roll_back_at: datetime | None) -> list[str | None]:
        """The times of a schedule. Raises `InvalidRelease`."""
        times = [_time(key, each) for key, each in (("publish", publish_at), ("until", roll_back_at))]
        if times[0] is not None and name in self._published():
            raise ReleaseConflict("publish", f"{name!r} is published already")
        if times[1] is not None and (times[0] or now()) >= times[1]:
            raise InvalidRelease("until", "is not after the time at which it is published")
        return times

    @asynccontextmanager
    async def _decision(self, verb: str, name: str, by: str, reason: str) -> AsyncGenerator[AuditAction, None]:
        """A decision about a release, under what counts now. Raises `Rejected` for a blank person or reason."""
        check_operator(by)
        check_reason(reason)
        await self._applied.refresh()
        async with self._audit.action(f"releases {verb}", name, by=by, reason=reason) as action:
            yield action

    async def apply_due(self) -> None:
        """Publishes and rolls back what is due, as the people who have scheduled it.

        What should have been rolled back by now is not published any more: no worker ran between the two times.
        """
        at = now()
        for release in list((await self._log.refresh()).values()):
            if release.roll_back_at is not None and release.roll_back_at <= at:
                await self._apply_due(release, _without(release.name), published=False)
                await self._ended(release, msgspec.structs.replace(release, publish_at=None, roll_back_at=None))
            elif release.publish_at is not None and release.publish_at <= at:
                await self._apply_due(release, _first(release.name), published=True)
                await self._ended(release, msgspec.structs.replace(release, publish_at=None))

    async def _apply_due(self, release: Release, change: Change, *, published: bool) -> None:
        await self._applied.refresh()
        with suppress(InvalidRelease):  # somebody else, or another process, has done it
            await self._change(change, release.scheduled_by, release.scheduled_for)
            log.info("a release was due", release=release.name, published=published)

    async def _ended(self, release: Release, rest: Release) -> None:
        """Ends what was due of a schedule, unless another was made meanwhile."""
        if self._log.known[release.name] == release:
            who = release.scheduled_by, release.scheduled_for
            await self._log.append(_scheduled(release.name, rest.publish_at, rest.roll_back_at, *who))

    async def _schedule(
        self, name: str, publish_at: str | None, roll_back_at: str | None, by: str, reason: str
    ) -> None:
        check_operator(by)
        check_reason(reason)
        while not await self._log.append(_scheduled(name, publish_at, roll_back_at, by, reason)):
            pass

    async def _known(self, name: str) -> Release:
        found = (await self._log.refresh()).get(name)
        if found is None:
            names = ", ".join(self._log.known) or "none"
            raise UnknownRelease("name", f"there is no release {name!r:.100}; there are: {names}")
        return found

    def _published(self) -> list[str]:
        newest = self._applied.newest
        return [] if newest is None else newest.record.settings.releases

    def _settings(self, change: Change) -> PageSettings:
        newest = self._applied.newest
        settings = self._applied.wanted() if newest is None else newest.record.settings
        return msgspec.structs.replace(settings, releases=change(settings.releases))

    async def _change(self, change: Change, by: str, reason: str) -> Applied:
        return await self._applier.change(lambda: self._settings(change), by=by, reason=reason)


def _same(names: list[str]) -> list[str]:
    return names


def _first(name: str) -> Change:
    """Publishes a release. Raises `InvalidRelease` if it is published."""

    def change(names: list[str]) -> list[str]:
        if name in names:
            raise ReleaseConflict("name", f"{name!r} is published already")
        return [name, *names]

    return change


def _with(name: str) -> Change:
    """Publishes a release, unless it is published."""
    return lambda names: names if name in names else [name, *names]


def _without(name: str) -> Change:
    """Rolls a release back. Raises `InvalidRelease` if it is not published."""

    def change(names: list[str]) -> list[str]:
        if name not in names:
            raise ReleaseConflict("name", f"{name!r} is not published")
        return [each for each in names if each != name]

    return change


def _scheduled(name: str, publish_at: str | None, roll_back_at: str | None, by: str, reason: str) -> ReleaseRecord:
    return ReleaseRecord("scheduled", name, by, reason, now(), publish_at, roll_back_at)


def _time(key: str, moment: datetime | None) -> str | None:
    if moment is None:
        return None
    if moment.utcoffset() is None:
        raise InvalidRelease(key, "needs its offset from UTC, such as '2027-01-01T00:00:00Z'")
    try:
        text = format_timestamp(moment)
    except OverflowError:
        raise InvalidRelease(key, f"{moment.isoformat()} is outside the years 1 to 9999 in UTC") from None
    if text <= now():
        raise InvalidRelease(key, f"{text[:19]}Z is past; `pagefold releases publish` and `rollback` do it now")
    return text
