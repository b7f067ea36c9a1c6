"""`[schedule]`: what the workers of a shop do by themselves, and when."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Literal, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Meta, field

from pagefold.domains import DOMAINS
from pagefold.engine.configuration.durations import Duration, parse_duration
from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.configuration.toml_tables import Table
from pagefold.engine.errors import ConfigurationError

NIGHTLY, NIGHTLY_CRON = "nightly-sample", "20 3 * * *"
"""The comparison of pages with the log that every shop has."""

Work: TypeAlias = Literal["rebuild", "poll", "verify", "verify-targets"]


class FirstConfig(Table, frozen=True):
    """What is repaired before the rest: exactly one of a domain, a channel and an attribute."""

    domain: Annotated[str | None, Meta(description="The statements of this domain.")] = None
    channel: Annotated[str | None, Meta(description="The statements for this channel alone.")] = None
    attribute: Annotated[
        str | None,
        Meta(description="The statements that differ in this place, such as `pricing.amount`, or in what is below it."),
    ] = None


class TaskConfig(Table, frozen=True):
    """Something that is done at certain times."""

    run: Annotated[
        Work,
        Meta(
            description="What is done: `rebuild` replays snapshots of sources, `poll` does so and withdraws nothing, "
            "`verify` compares pages with the log, `verify-targets` compares targets with the pages."
        ),
    ]
    cron: Annotated[
        str,
        Meta(description="When: minute, hour, day of the month, month, day of the week, such as `30 2 * * sun`."),
    ]
    sources: Annotated[
        list[str],
        Meta(
            description="With `rebuild` and `poll`: the sources, in this order. Without it, all that have a snapshot."
        ),
    ] = field(default_factory=list)
    targets: Annotated[
        list[str],
        Meta(description="With `verify-targets`: the targets, in this order. Without it, all of the configuration."),
    ] = field(default_factory=list)
    domains: Annotated[
        list[str],
        Meta(
            description="Except with `verify-targets`: only these domains, in this order, each as a run of its own. "
            "Without it, all."
        ),
    ] = field(default_factory=list)
    prefixes: Annotated[
        list[str],
        Meta(
            description="With `rebuild` and `poll`: only SKUs that begin with one of these; each is a run of its own."
        ),
    ] = field(default_factory=list)
    first: Annotated[
        list[FirstConfig],
        Meta(
            description='With `rebuild` and `poll`: what is risky, such as `{ domain = "pricing" }`, `{ channel = '
            '"web-de" }` or `{ attribute = "pricing.amount" }`. Each is repaired before the rest, in this order, by a '
            "run of its own, which reads the snapshot."
        ),
    ] = field(default_factory=list)
    sample: Annotated[
        int,
        Meta(
            ge=0,
            description="With `verify`: how many SKUs are compared, chosen at random; 0 compares all. With "
            "`verify-targets`: how many pages are read back from each target that can be read; 0 reads none.",
        ),
    ] = 1_000
    window: Annotated[
        Duration | None,
        Meta(description="How long it may take: after that it stops, and a rebuild is resumed the next time."),
    ] = None
    rows_per_second: Annotated[
        float,
        Meta(
            ge=0,
            description="With `rebuild` and `poll`: how many rows of a snapshot are read in a second; 0: any number.",
        ),
    ] = 0.0

    @cached_property
    def window_seconds(self) -> float | None:
        """How many seconds it may take; None for any number."""
        return None if self.window is None else parse_duration(self.window)


class ScheduleConfig(Table, frozen=True):
    """What is done at certain times, by one of the workers."""

    zone: Annotated[str, Meta(description="The time zone of all times, such as `Europe/Berlin`.")] = "UTC"
    tasks: Annotated[dict[str, TaskConfig], Meta(description="What is done, by name.")] = field(default_factory=dict)
    nightly_sample: Annotated[
        int,
        Meta(
            ge=0,
            description="How many SKUs are compared with the log every night at 3:20, chosen at random, unless a task "
            "compares pages; 0 for none.",
        ),
    ] = 1_000

    @cached_property
    def all_tasks(self) -> Mapping[str, TaskConfig]:
        """The tasks, and the nightly comparison of a sample."""
        compares = NIGHTLY in self.tasks or any(each.run == "verify" for each in self.tasks.values())
        if compares or not self.nightly_sample:
            return self.tasks
        return {**self.tasks, NIGHTLY: TaskConfig(run="verify", cron=NIGHTLY_CRON, sample=self.nightly_sample)}

    @cached_property
    def time_zone(self) -> ZoneInfo:
        """The time zone of all times."""
        return ZoneInfo(self.zone)


_ONLY_WITH: Mapping[str, Sequence[Work]] = {
    "sources": ("rebuild", "poll"),
    "targets": ("verify-targets",),
    "domains": ("rebuild", "poll", "verify"),
    "prefixes": ("rebuild", "poll"),
    "first": ("rebuild", "poll"),
    "rows_per_second": ("rebuild", "poll"),
    "sample": ("verify", "verify-targets"),
}


def check_schedule(
    schedule: ScheduleConfig, sources: Mapping[str, bool], channels: Collection[str], targets: Collection[str]
) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the tables do not exclude. `sources`: whether each has a snapshot."""
    try:
        ZoneInfo(schedule.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield ConfigurationError("schedule.zone", f"{schedule.zone!r} is not a time zone such as 'Europe/Berlin'")
    for name, task in schedule.tasks.items():
        key = f"schedule.tasks.{name}"
        yield from _check_task(key, task, sources)
        for target in task.targets:
            if target not in targets:
                hint = suggestion(target, targets, "targets")
                yield ConfigurationError(f"{key}.targets", f"unknown target {target!r}; {hint}")
        for number, first in enumerate(task.first):
            yield from _check_first(f"{key}.first[{number}]", first, channels)


def _check_task(key: str, task: TaskConfig, sources: Mapping[str, bool]) -> Iterator[ConfigurationError]:
    defaults = TaskConfig(run=task.run, cron=task.cron)
    for name, works in _ONLY_WITH.items():
        if task.run not in works and getattr(task, name) != getattr(defaults, name):
            yield ConfigurationError(f"{key}.{name}", f'goes with run = "{works[0]}"')
    for name in task.sources:
        if name not in sources:
            yield ConfigurationError(
                f"{key}.sources", f"unknown source {name!r}; {suggestion(name, sources, 'sources')}"
            )
        elif not sources[name]:
            yield ConfigurationError(f"{key}.sources", f"the source {name!r} has no snapshot")
    try:
        parse_duration(0 if task.window is None else task.window)
    except ValueError as error:
        yield ConfigurationError(f"{key}.window", str(error))


def _check_first(key: str, first: FirstConfig, channels: Collection[str]) -> Iterator[ConfigurationError]:
    names = [domain.name for domain in DOMAINS]
    given = [value for value in (first.domain, first.channel, first.attribute) if value is not None]
    if len(given) != 1:
        yield ConfigurationError(key, "needs exactly one of domain, channel and attribute")
    if first.domain is not None and first.domain not in names:
        yield ConfigurationError(f"{key}.domain", f"no such domain; {suggestion(first.domain, names, 'domains')}")
    if first.channel is not None and first.channel not in channels:
        yield ConfigurationError(
            f"{key}.channel", f"no such channel; {suggestion(first.channel, channels, 'channels')}"
        )
    domain, _, path = (first.attribute or "").partition(".")
    if first.attribute is not None and (domain not in names or not path):
        problem = f"{first.attribute!r:.60} is not a domain, a point and a place, such as 'pricing.amount'"
        yield ConfigurationError(f"{key}.attribute", problem)
