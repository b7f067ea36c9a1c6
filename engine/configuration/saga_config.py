"""`[sagas.X]`: targets that get each version of a page together, or not at all."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.configuration.target_config import TargetConfig
from pagefold.engine.configuration.toml_tables import Table
from pagefold.engine.errors import ConfigurationError

MIN_TARGETS = 2


class CompensationConfig(Table, frozen=True, kw_only=True):
    """A request that takes back what a target has taken, in place of the page that it had before."""

    method: Annotated[Literal["POST", "PUT", "PATCH", "DELETE"], Meta(description="The method.")] = "POST"
    path: Annotated[
        str,
        Meta(description="What is added to the target's address, with `{sku}` and `{channel}`, percent-encoded."),
    ] = ""
    body: Annotated[
        str,
        Meta(description="The body, JSON, with `{sku}` and `{channel}` inside its texts. Without it, there is none."),
    ] = ""


class SagaConfig(Table, frozen=True, kw_only=True):
    """Targets that get each version of a page together, or not at all."""

    targets: Annotated[
        list[str],
        Meta(
            description="The targets, in the order in which they get a page, all with the same `channels`, `ready` and "
            "`filters`."
        ),
    ]
    pivot: Annotated[
        str | None,
        Meta(
            description="The target that decides: once it has taken a page, the others must, too. Until then, a "
            "refusal gives the version up everywhere. Without it, the last one."
        ),
    ] = None
    compensations: Annotated[
        dict[str, CompensationConfig],
        Meta(
            description="By target, the request that takes a page back. Without it, the target gets the page that all "
            "of them had before."
        ),
    ] = field(default_factory=dict)

    @property
    def decides(self) -> str:
        """The pivot."""
        return self.targets[-1] if self.pivot is None else self.pivot


def groups_of(sagas: Mapping[str, SagaConfig]) -> dict[str, str]:
    """By target, the saga that it is in."""
    return {target: name for name, saga in sagas.items() for target in saga.targets}


def check_sagas(sagas: Mapping[str, SagaConfig], targets: Mapping[str, TargetConfig]) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the tables do not exclude."""
    seen: dict[str, str] = {}
    for name, saga in sagas.items():
        key = f"sagas.{name}"
        for target in saga.targets:
            if target not in targets:
                problem = f"unknown target {target!r}; {suggestion(target, targets, 'targets')}"
                yield ConfigurationError(f"{key}.targets", problem)
            elif target in seen:
                where = "twice" if seen[target] == name else f"already in the saga {seen[target]}"
                yield ConfigurationError(f"{key}.targets", f"{target!r} is {where}; a target is in one saga, once")
            seen[target] = name
        if len(saga.targets) < MIN_TARGETS:
            yield ConfigurationError(f"{key}.targets", "needs two targets or more")
        else:
            yield from _check_saga(key, saga, [(each, targets[each]) for each in saga.targets if each in targets])


def _check_saga(
    key: str, saga: SagaConfig, members: Sequence[tuple[str, TargetConfig]]
) -> Iterator[ConfigurationError]:
    if saga.decides not in saga.targets:
        problem = f"{saga.decides!r} is not one of its targets: {', '.join(saga.targets)}"
        yield ConfigurationError(f"{key}.pivot", problem)
        return
    for name, member in members[1:]:
        first_name, first = members[0]
        if _pages(member) != _pages(first):
            where = "have other `channels`, `ready` or `filters`"
            problem = f"{first_name} and {name} {where}: a page is for all of them, or none"
            yield ConfigurationError(f"{key}.targets", problem)
    known = dict(members)
    for name, compensation in saga.compensations.items():
        place = f"{key}.compensations.{name}"
        if name not in saga.targets:
            yield ConfigurationError(place, f"is not one of its targets: {', '.join(saga.targets)}")
        elif name in known:
            yield from _check_compensation(place, compensation, known[name])


def _check_compensation(
    key: str, compensation: CompensationConfig, target: TargetConfig
) -> Iterator[ConfigurationError]:
    if target.http is None or target.http.batches:
        yield ConfigurationError(key, "needs a target of the kind `http`, without `batches`")
    rest = compensation.path.replace("{sku}", "").replace("{channel}", "")
    if "{" in rest or "}" in rest:
        problem = f"{compensation.path!r} may have {{sku}} and {{channel}}, and no other braces"
        yield ConfigurationError(f"{key}.path", problem)
    if compensation.body:
        try:
            msgspec.json.decode(compensation.body.encode())
        except msgspec.MsgspecError as error:
            yield ConfigurationError(f"{key}.body", f"is not JSON: {error}")


def _pages(target: TargetConfig) -> tuple[object, ...]:
    """What says which pages a target gets."""
    return frozenset(target.channels), target.ready, target.filters
