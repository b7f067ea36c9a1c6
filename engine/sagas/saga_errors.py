"""The errors of sagas. The tree of all errors is in `pagefold.engine.errors`."""

from collections.abc import Sequence

from pagefold.engine.errors import PagefoldError


class UnknownSaga(PagefoldError):
    """The configuration has no saga of this name, or it has no record of this page."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        hint = f"; there are {', '.join(known)}" if known else "; the configuration has no sagas"
        super().__init__(f"no saga {name!r}{hint}")


class UnknownSagaPage(UnknownSaga):
    """A saga has no record of this page: nothing was delivered of it yet."""

    def __init__(self, name: str, sku: str, channel: str) -> None:
        PagefoldError.__init__(self, f"the saga {name} has no record of {sku} in {channel}")


class SagaStateError(PagefoldError):
    """The state of a page's saga does not allow this."""

    def __init__(self, saga: str, what: str, state: str) -> None:
        super().__init__(f"{saga} is {state}: it cannot {what}")


class SagaTakenOver(PagefoldError):
    """Another process has recorded other steps of a page's saga."""

    def __init__(self, saga: str) -> None:
        super().__init__(f"another process works on {saga}")
