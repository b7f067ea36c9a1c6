"""Every error that Pagefold raises on purpose.

PagefoldError
├── ConfigurationError      the configuration is wrong; says which key, and what would be right
├── Refused                 one event breaks a rule of the door; says where and why
├── SourceFailed            a file, an endpoint or a database of a source cannot be read
│   └── SourceIncomplete    it was read as far as it goes: what follows is cut off or damaged
├── CannotListen            the server's address cannot be had
├── Overloaded              more waits to be done than may wait; nothing was taken, and sending it later is right
└── StoreError              the store cannot do what was asked
    ├── StoreUnavailable    it may work again later: the only error that is worth a retry
    ├── StoreMissing        there is no store at this address
    ├── StoreUnfit          the server refuses, or is none that can keep a store
    ├── StoreReadOnly       the store can be read here, and nothing can be written
    ├── StoreTooNew         the store was made by a newer Pagefold
    ├── ReadTooLarge        more bytes were asked for at once than may be held; asking for less at a time is right
    ├── AlreadyRecorded     an event of the `eventsourcing` library is there already
    ├── LogReplaced         the log is not the one that was folded: it was put back, swapped or deleted
    ├── PagesUnfolded       the pages were lost, and are not all folded again yet
    └── LeaseLost           another worker has taken this domain over
"""


class PagefoldError(Exception):
    """The root of all of them."""


class ConfigurationError(PagefoldError):
    """The configuration is wrong. `key` is dotted, such as `channels.web-de.currency`.

    `place` is the file and the line, such as `pagefold.toml:12`, where they are known.
    """

    def __init__(self, key: str, problem: str, place: str | None = None) -> None:
        super().__init__(": ".join(filter(None, (place, key, problem))))
        self.key = key
        self.problem = problem
        self.place = place


class Rejected(PagefoldError):
    """An event that may not enter the log. `path` is inside the event, such as `payload.amount`."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.path = path
        self.reason = reason


class SourceFailed(PagefoldError):
    """A file, an endpoint or a database of a source cannot be read, or not any further for now. `name` tells which."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name
        self.problem = problem


class SourceIncomplete(SourceFailed):
    """Compressed data is cut off or damaged. What came before was read; reading it again gives no more."""


class AddressUnavailable(PagefoldError):
    """The server cannot listen at its address: another program does, or it is no address of this machine."""

    def __init__(self, host: str, port: int, problem: str) -> None:
        super().__init__(f"cannot listen on {host} port {port}: {problem}; --host and --port choose another")


class Overloaded(PagefoldError):
    """More waits to be done than may wait. Nothing of what was sent was taken: it is to be sent again, later."""

    def __init__(self, queued: int) -> None:
        super().__init__(f"{queued:,} events wait to be appended, and no more may")


class StoreError(PagefoldError):
    """The store cannot do what was asked.

    `told` is what anybody may know of it, nothing of where the store is; None where the error has no such words.
    """

    told: str | None = None


class StoreUnavailable(StoreError):
    """The store did not answer, or not in time. Nothing is known of what was under way; everything can be repeated."""

    def __init__(self, store: str, cause: BaseException) -> None:
        super().__init__(f"the store {store} is unavailable: {type(cause).__name__}: {cause}")


class StoreNotFound(StoreError):
    """There is no store at this address."""

    def __init__(self, store: str) -> None:
        super().__init__(f"there is no store at {store}; `pagefold init` or the first `pagefold ingest` makes one")


class StoreUnusable(StoreError):
    """The database server refuses what a store needs, or is none that can keep one: something for a person to mend."""

    def __init__(self, store: str, problem: object) -> None:
        super().__init__(f"the store {store} cannot be used: {problem}")


class StoreReadOnly(StoreError):
    """Nothing can be written to the store from here, and trying again does not help. It can be read."""

    def __init__(self, store: str, reason: str) -> None:
        super().__init__(f"the store {store} is read-only, and nothing was written: {reason}")
        self.told = f"the store is read-only: {reason}"


class StoreDamaged(StoreUnusable):
    """A part of the store is not what was written to it. `what` is damaged; `problem` says how that was found."""

    def __init__(self, store: str, what: str, problem: object) -> None:
        super().__init__(store, f"{what} is damaged: {problem}. {remedy_for(what)}")
        self.told = f"{what} is damaged"


def remedy_for(what: str) -> str:
    """What to do about a part of a store that is damaged."""
    return _REMEDIES.get(what, _REMEDIES[""])


_REMEDIES = {
    "pages.db": (
        "It can be made again: end what works on the store, delete pages.db, and let `pagefold recover` fold every "
        "page from the log"
    ),
    "events.db": "It cannot be made again: put a backup back, `pagefold restore` does",
    "an index": "It can be made again: `pagefold verify` names it, and REINDEX makes it; then `pagefold recover`",
    "": "`pagefold verify` looks for more. `pagefold recover` makes pages again; all else is in a backup",
}


class StoreTooNew(StoreError):
    """The store's schema is one that this program does not know."""

    def __init__(self, store: str, found: int, known: int) -> None:
        super().__init__(
            f"the store {store} has schema {found}, this program knows up to {known}; install a newer Pagefold"
        )


class ReadTooLarge(StoreError):
    """What was asked for at once has more bytes than the caller may hold. Nothing of it was given.

    `size` is how many it has; `parts` in how many it may be asked for, if they are of about the same size.
    """

    def __init__(self, size: int, max_bytes: int) -> None:
        super().__init__(f"what was asked for has {size:,} bytes, more than {max_bytes:,}; ask for less at a time")
        self.size = size
        self.parts = size // max(max_bytes, 1) + 2


class AlreadyRecorded(StoreError):
    """A version that an application wants to record is taken, or its tracking position would not move forward."""

    def __init__(self, what: str) -> None:
        super().__init__(f"already recorded: {what}")


class LogReplaced(StoreError):
    """The log is not the one that was folded and appended to. Nothing is appended or folded until a person decides."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the log is not the one that was folded: {reason}. Nothing is appended or folded. Put the right log back "
            "(`pagefold restore` does, from a backup), or fold everything again from this one: `pagefold recover`"
        )
        self.reason = reason
        self.told = str(self)


class PagesUnfolded(StoreError):
    """The pages were lost, and are being folded again: until that is done, a page that is not there may still exist."""

    def __init__(self) -> None:
        super().__init__(
            "the pages were lost, and are not all folded again yet: `pagefold work` and `pagefold recover` fold them "
            "from the log"
        )
        self.told = str(self)


class LeaseLost(StoreError):
    """Another worker has taken the domain over while this one was away, or the checkpoint was put back under it."""

    def __init__(self, domain: str) -> None:
        super().__init__(f"the checkpoint of {domain} is no longer this worker's: another has taken over")
        self.told = str(self)


RETRYABLE = (StoreUnavailable,)
"""What may go away by itself. Everything else is reported and not tried again."""
