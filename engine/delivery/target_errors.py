"""The errors of targets. The tree of all errors is in `pagefold.engine.errors`."""

from collections.abc import Sequence

from pagefold.engine.errors import PagefoldError


class TargetUnreadable(PagefoldError):
    """What a target holds cannot be read now. Deliveries to it may go on."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"target {name}: {problem}")
        self.name = name
        self.problem = problem


class UnknownTarget(PagefoldError):
    """Neither the configuration nor the store has a target of this name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        hint = f"; there are {', '.join(sorted(known))}" if known else "; the configuration has no targets"
        super().__init__(f"no target {name!r}{hint}")


class TargetNotStopped(PagefoldError):
    """The target is neither paused nor disabled, and its circuit is closed."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the target {name} is neither paused, disabled nor down")
