"""Which pages change when another configuration counts, without their sections being folded again."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from pagefold.engine.applied.applied_configuration import AppliedConfiguration
from pagefold.engine.applied.applied_history import AppliedHistory
from pagefold.engine.applied.applied_log import NEVER
from pagefold.engine.configuration.config import Config


class LayoutChange(NamedTuple):
    """The channels whose pages may differ, and those that are no more: their pages are withdrawn."""

    changed: frozenset[str]
    gone: frozenset[str]


class LayoutHistory:
    """Compares what configurations say of pages beside their sections: which domains make those of a channel ready."""

    def __init__(self, applied: AppliedConfiguration) -> None:
        self._applied = applied
        self._history = AppliedHistory(applied.log, applied.file)

    async def change(self, before: int) -> LayoutChange:
        """What differs under the configuration that counts now, for who has seen that with the number `before`."""
        return layout_change(await self._history.config(None if before == NEVER else before), self._applied.config)


def layout_change(before: Config, after: Config) -> LayoutChange:
    """What differs between two configurations."""
    old, new = _requirements(before), _requirements(after)
    changed = {channel for channel, requires in new.items() if old.get(channel) != requires}
    return LayoutChange(frozenset(changed), frozenset(old).difference(new))


def _requirements(config: Config) -> Mapping[str, Collection[str]]:
    return {channel.name: frozenset(channel.requires) for channel in config.resolved_channels}
