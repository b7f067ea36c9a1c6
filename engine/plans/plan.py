"""What a plan found: counts by channel, domain and field, some samples, and whether it takes too much away."""

from collections import Counter
from collections.abc import Iterable
from typing import Self

import msgspec

from pagefold.engine.configuration.snapshot_config import DEFAULT_ORPHANS, OrphanLimit
from pagefold.engine.plans.page_changes import ComparedPages, PageChange, field_name

MAX_SAMPLES = 20
"""Changed pages that a plan keeps. Of each kind of change, some."""

MAX_SAMPLED_FIELDS = 8
"""Fields of a sample that are kept."""

MAX_FIELDS = 1_000
"""Fields that are counted in a channel, by path. Others are counted together."""

OTHER_FIELDS = "…"

CHANGED = "changed"
"""In place of an effect: other values, and nothing else."""

MAX_LISTED_SKUS = 100
"""SKUs that a plan lists of each effect in a channel, the first in the order of SKUs."""

BRAKE = OrphanLimit.parse(DEFAULT_ORPHANS)
"""How many live pages a configuration may take something from without a person: as a rebuild."""


class ChannelPlan(msgspec.Struct, rename="camel"):
    """One channel: `live` pages before; those that are `changed`, and from how many live ones something is `taken`.

    `effects` counts pages by effect, `domains` by domain whose section differs, `fields` by field that differs. `skus`
    lists the first SKUs of each effect, and below `changed` those of pages without one.
    """

    live: int = 0
    changed: int = 0
    taken: int = 0
    effects: dict[str, int] = {}
    domains: dict[str, int] = {}
    fields: dict[str, int] = {}
    skus: dict[str, list[str]] = {}

    def add(self, change: PageChange) -> None:
        """Counts a changed page."""
        self.changed += 1
        self.taken += change.takes_away
        _count(self.effects, change.effects)
        _count(self.domains, change.domains)
        names = {field_name(field.path) for field in change.fields}
        if len(self.fields) + len(names) > MAX_FIELDS:
            names = {name if self._has_room(name) else OTHER_FIELDS for name in names}
        _count(self.fields, names)
        effects: list[str] = [*change.effects]
        for effect in effects or [CHANGED]:
            self._list(effect, [change.sku])

    def merge(self, other: "ChannelPlan") -> None:
        """Adds what was counted in other pages of the channel."""
        self.live += other.live
        self.changed += other.changed
        self.taken += other.taken
        for mine, theirs in ((self.effects, other.effects), (self.domains, other.domains)):
            for name, number in theirs.items():
                mine[name] = mine.get(name, 0) + number
        for name, number in other.fields.items():
            known = name if self._has_room(name) else OTHER_FIELDS
            self.fields[known] = self.fields.get(known, 0) + number
        for effect, skus in other.skus.items():
            self._list(effect, skus)

    def _list(self, effect: str, skus: list[str]) -> None:
        listed = self.skus.setdefault(effect, [])
        if len(listed) < MAX_LISTED_SKUS or skus[0] < listed[-1]:
            self.skus[effect] = sorted([*listed, *skus])[:MAX_LISTED_SKUS]

    def _has_room(self, name: str) -> bool:
        return name in self.fields or len(self.fields) < MAX_FIELDS


class Plan(msgspec.Struct, rename="camel"):
    """What would change: `channels` by name, and samples of changed pages. `skus` were folded."""

    skus: int = 0
    channels: dict[str, ChannelPlan] = {}
    samples: list[PageChange] = []

    @classmethod
    def of(cls, compared: Iterable[ComparedPages]) -> Self:
        """The plan of some SKUs."""
        plan = cls()
        live: Counter[str] = Counter()
        for each in compared:
            plan.skus += 1
            live.update(each.live)
            for change in each.changes:
                plan.channel(change.channel).add(change)
                plan._sample(change)
        for name, number in sorted(live.items()):
            plan.channel(name).live = number
        return plan

    def channel(self, name: str) -> ChannelPlan:
        """The part of a channel, which is made on first use."""
        return self.channels.setdefault(name, ChannelPlan())

    def merge(self, other: "Plan") -> None:
        """Adds the plan of other SKUs."""
        self.skus += other.skus
        for name, part in other.channels.items():
            self.channel(name).merge(part)
        for sample in other.samples:
            self._sample(sample)

    @property
    def changed(self) -> int:
        """Pages that change."""
        return sum(channel.changed for channel in self.channels.values())

    @property
    def live(self) -> int:
        """Live pages before."""
        return sum(channel.live for channel in self.channels.values())

    @property
    def taken(self) -> int:
        """Live pages that lose something."""
        return sum(channel.taken for channel in self.channels.values())

    @property
    def excess(self) -> list[str]:
        """The channels from which more is taken than may be without a person, by name; `*` for all together."""
        found = [name for name, each in sorted(self.channels.items()) if each.taken > BRAKE.limit(each.live)]
        return found or ["*"] * (self.taken > BRAKE.limit(self.live))

    def _sample(self, change: PageChange) -> None:
        """Keeps a change if there are few samples of its kind: same channel, effects and domains."""
        if len(self.samples) < MAX_SAMPLES:
            kind = (change.channel, change.effects, change.domains)
            alike = sum((each.channel, each.effects, each.domains) == kind for each in self.samples)
            if alike < MAX_SAMPLES // 4:
                fields = change.fields[:MAX_SAMPLED_FIELDS]
                self.samples.append(msgspec.structs.replace(change, fields=fields))


def _count(counts: dict[str, int], names: Iterable[str]) -> None:
    for name in names:
        counts[name] = counts.get(name, 0) + 1
