"""Which releases make the difference between the configurations under which pages were folded, and another one."""

from collections.abc import AsyncIterator, Collection, Sequence

import msgspec

from pagefold.domains import AnyDomain
from pagefold.engine.applied.applied_log import NEVER, AppliedLog
from pagefold.engine.configuration.config import Config

MAX_READ = 20
"""Applied configurations, newest first, in which lists of releases are looked for."""


async def changed_releases(
    log: AppliedLog, config: Config, domain: AnyDomain, fingerprints: Collection[str]
) -> list[str] | None:
    """The releases that count otherwise under `config` than under the configurations of these fingerprints.

    They were published or rolled back since, or have another rank. None if these configurations differ in more, or are
    not known any more.
    """
    unknown = set(fingerprints) - {config.fingerprint(domain)}
    changed: set[str] = set()
    now = config.page_settings.releases
    async for then in _lists(log):
        if not unknown:
            break
        other = config.under(msgspec.structs.replace(config.page_settings, releases=list(then)))
        if (fingerprint := other.fingerprint(domain)) in unknown:
            unknown.remove(fingerprint)
            changed |= _difference(then, now)
    return None if unknown else sorted(changed)


async def _lists(log: AppliedLog) -> AsyncIterator[tuple[str, ...]]:
    """The different lists of published releases that configurations had, the newest first."""
    found: set[tuple[str, ...]] = set()
    newest = await log.newest_number()
    for number in range(newest, max(newest - MAX_READ, NEVER), -1):
        applied = await log.read(number)
        releases = () if applied is None else tuple(applied.record.settings.releases)
        if releases not in found:
            found.add(releases)
            yield releases


def _difference(before: Sequence[str], after: Sequence[str]) -> set[str]:
    """The releases that only one of two lists has; and all that both have, if their order is another one."""
    both = [name for name in before if name in after]
    moved = both if both != [name for name in after if name in before] else []
    return set(before) ^ set(after) | set(moved)
