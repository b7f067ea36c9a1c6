"""Every error that Pagefold raises on purpose. `pagefold` exports all of them.

PagefoldError
├── ConfigurationError      the configuration is wrong: which key, and what is allowed
├── Rejected                an event breaks a rule: where, and why
│   ├── InvalidEpochRequest the epoch cannot be raised, or there is no alarm to dismiss
│   └── InvalidRelease      the release cannot be created, published, scheduled or rolled back
│       ├── UnknownRelease  there is no release with this name
│       └── ReleaseConflict the release exists already, is published already, or is not published
├── SourceFailed            a source's file, endpoint or database cannot be read
│   └── SourceIncomplete    it was read up to a place where it is cut off or damaged
├── TargetUnreadable        what a target holds cannot be read
├── Overloaded              the append queue is full; nothing was taken, send it again later
│   └── TableUnavailable    a table that a contract needs could not be fetched; send it again later
├── WorkersStopped          an error has ended the workers that `pagefold.open(…, work=True)` runs
├── ExtraMissing            a part of Pagefold was used whose packages are not installed
├── AddressUnavailable      the server cannot listen at its address
├── StoreError              the store cannot do what was asked
│   ├── StoreUnavailable    it may work again later: the only error that is worth a retry
│   ├── StoreNotFound       there is no store at this address
│   ├── StoreUnusable       the database server refuses, or cannot hold a store
│   │   └── StoreDamaged    a part of the store is not what was written to it
│   ├── StoreReadOnly       the store can be read from here, but not written
│   ├── StoreTooNew         the store was made by a newer Pagefold
│   ├── ReadTooLarge        the answer has more bytes than the caller allows; ask for less at a time
│   ├── AlreadyRecorded     an event of the `eventsourcing` library is stored already
│   ├── LogReplaced         the log is not the one that was folded: it was restored, swapped or deleted
│   ├── PagesUnfolded       the pages were lost, and are not all folded again yet
│   └── LeaseLost           another worker has taken this domain over
├── BackupError             a backup cannot be made, is incomplete, or cannot be restored
├── RecoveryUnderWay        another process is recovering this store
├── PagesWouldGo            a recovery would remove many pages, and was not confirmed
├── PlanOutdated            a plan began from a configuration, log or release that counts no longer
├── CountChanged            what a decision was made about is of another number by now
├── UnreadablePlan          a file has no plan
├── UnknownPlan             there is no plan with this id
├── PlanDecided             the plan was applied or refused already
├── UnknownTarget           no target has this name
├── TargetNotStopped        the target is delivered to already: there is nothing to resume
├── UnknownSaga             no saga has this name
│   └── UnknownSagaPage     the saga has no record of this page
├── SagaStateError          the state of a page's saga does not allow this
├── SagaTakenOver           another process works on this page of a saga
├── UnknownDeadLetter       there is no dead letter with this id
├── DeadLetterResolved      the dead letter is no longer open
├── UnknownCursor           the cursor is not one that a list or the feed returned
├── FeedReset               the cursor of the feed cannot be continued: start again from 0
├── InvalidTokenRequest     the token cannot be made: its scopes, source, lifetime or label are wrong
├── UnknownToken            there is no token with this name
├── UnknownRun              there is no rebuild with this id
├── RebuildInProgress       the source is being rebuilt by another run
├── SyncInProgress          the source is being asked for changes by another process
├── UnknownRequest          there is no request with this number
├── RequestConflict         what is asked for was asked for already, or is no longer as it was seen
├── RunNotResumable         the run cannot be resumed
├── RunTakenOver            another process has resumed the run
├── RunStateError           the run's state does not allow this
├── RowsOutOfOrder          a snapshot's rows are not in the order of their streams
└── SpillFailed             the temporary file in which a snapshot is sorted cannot be used
"""

from typing import NamedTuple


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


class InvalidEpochRequest(Rejected):
    """An epoch that cannot be raised, or an alarm that cannot be dismissed."""


class InvalidRelease(Rejected):
    """A release that cannot be created, published, scheduled or rolled back. Nothing was changed."""


class UnknownRelease(InvalidRelease):
    """There is no release with this name."""


class ReleaseConflict(InvalidRelease):
    """A release that exists or is published already, or is not published."""


class Failure(NamedTuple):
    """How an endpoint failed: the `status` of its answer, if there was one; whether another attempt may succeed.

    `seconds` is how long the server wants to be left alone, if it says so.
    """

    status: int | None = None
    passes: bool = False
    seconds: float | None = None


class SourceFailed(PagefoldError):
    """A source's file, endpoint or database cannot be read, or not to its end. `name` says which."""

    def __init__(self, name: str, problem: str, failure: Failure = Failure()) -> None:  # noqa: B008  # it is immutable
        super().__init__(f"{name}: {problem}")
        self.name = name
        self.problem = problem
        self.failure = failure


class SourceIncomplete(SourceFailed):
    """Compressed data is cut off or damaged. What comes before that was read; another attempt reads no more."""


class Overloaded(PagefoldError):
    """The append queue is full. None of the events were taken; send them again later."""

    def __init__(self, queued: int) -> None:
        super().__init__(f"the append queue is full: {queued:,} events are waiting; send these again later")


class TableUnavailable(Overloaded):
    """A table that a contract needs could not be fetched. Nothing was taken; send it again later."""

    def __init__(self, name: str, cause: Exception) -> None:
        PagefoldError.__init__(self, f"the table {name!r} could not be fetched; send this again later: {cause}")


class WorkersStopped(PagefoldError):
    """An error has ended this program's workers: what is appended is not folded by them. Its cause is that error."""

    def __init__(self, error: Exception) -> None:
        super().__init__(
            f"the workers have stopped, and nothing is folded until the shop is opened again: "
            f"{type(error).__name__}: {error}"
        )


class ExtraMissing(PagefoldError):
    """A part of Pagefold was used whose packages are not installed. `extra` brings them."""

    def __init__(self, user: str, extra: str, package: str) -> None:
        super().__init__(f"{user} needs packages that are not installed ({package}): pip install 'pagefold[{extra}]'")
        self.extra = extra


class AddressUnavailable(PagefoldError):
    """The server cannot listen at its address: it is in use, or not an address of this machine."""

    def __init__(self, host: str, port: int, problem: str, options: str = "--host and --port") -> None:
        super().__init__(f"cannot listen on {host} port {port}: {problem}; {options} choose another")
        self.problem = problem


# --- the store ------------------------------------------------------------------------------------


class StoreError(PagefoldError):
    """The store cannot do what was asked.

    `public_message` describes the error without the store's address; None if it has no such description.
    """

    public_message: str | None = None


class StoreUnavailable(StoreError):
    """The store did not answer, or not in time. What was under way may or may not be done; it can be repeated."""

    def __init__(self, store: str, cause: BaseException) -> None:
        super().__init__(f"the store {store} is unavailable: {type(cause).__name__}: {cause}")


class StoreNotFound(StoreError):
    """There is no store at this address."""

    def __init__(self, store: str) -> None:
        super().__init__(f"there is no store at {store}; `pagefold init` or the first `pagefold ingest` makes one")


class StoreUnusable(StoreError):
    """The database server refuses what a store needs, or cannot hold one. A person has to repair it."""

    def __init__(self, store: str, problem: object) -> None:
        super().__init__(f"the store {store} cannot be used: {problem}")


class StoreDamaged(StoreUnusable):
    """A part of the store is not what was written to it. `what` is damaged; `problem` says how that was found."""

    def __init__(self, store: str, what: str, problem: object) -> None:
        super().__init__(store, f"{what} is damaged: {problem}. {remedy_for(what)}")
        self.public_message = f"{what} is damaged"


def remedy_for(what: str) -> str:
    """What to do about a damaged part of a store."""
    return _REMEDIES.get(what, _REMEDIES[""])


_REMEDIES = {
    "pages.db": (
        "It can be made again: stop every process that uses the store, delete pages.db, and let `pagefold recover` "
        "fold every page from the log"
    ),
    "deliveries.db": (
        "It can be made again: stop every process that uses the store, and delete deliveries.db: everything is "
        "delivered again to every target"
    ),
    "events.db": "It cannot be made again: restore a backup with `pagefold restore`",
    "an index": "It can be made again: `pagefold verify` names it, and REINDEX makes it; then run `pagefold recover`",
    "": "`pagefold verify` looks for more. `pagefold recover` makes pages again; everything else is in a backup",
}


class StoreReadOnly(StoreError):
    """The store can be read from here, but not written, and another attempt does not help."""

    def __init__(self, store: str, reason: str) -> None:
        super().__init__(f"the store {store} is read-only, and nothing was written: {reason}")
        self.public_message = f"the store is read-only: {reason}"


class StoreTooNew(StoreError):
    """The store's schema is newer than this program."""

    def __init__(self, store: str, found: int, known: int) -> None:
        super().__init__(
            f"the store {store} has schema {found}, this program knows up to {known}; install a newer Pagefold"
        )


class ReadTooLarge(StoreError):
    """The answer has more bytes than the caller allows. Nothing was returned.

    `size` is how many bytes it has; `parts` is into how many requests to split it, if all items are of about one size.
    """

    def __init__(self, size: int, max_bytes: int) -> None:
        super().__init__(f"the answer has {size:,} bytes, more than {max_bytes:,}; ask for less at a time")
        self.size = size
        self.parts = size // max(max_bytes, 1) + 2


class AlreadyRecorded(StoreError):
    """An application records a version that is taken, or a tracking position that does not move forward."""

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
        self.public_message = str(self)


class PagesUnfolded(StoreError):
    """The pages were lost, and are being folded again. Until that is done, a page that is missing may still exist."""

    def __init__(self) -> None:
        super().__init__(
            "the pages were lost, and are not all folded again yet: `pagefold work` and `pagefold recover` fold them "
            "from the log"
        )
        self.public_message = str(self)


class LeaseLost(StoreError):
    """Another worker has taken the domain over while this one was away, or its checkpoint was set back."""

    def __init__(self, domain: str) -> None:
        super().__init__(f"the checkpoint of {domain} is no longer this worker's: another has taken over")
        self.public_message = str(self)


# --- backups and recoveries -----------------------------------------------------------------------


class BackupError(PagefoldError):
    """A backup cannot be made, is incomplete, or cannot be restored; nothing was changed."""


class RecoveryUnderWay(PagefoldError):
    """Another process is recovering this store."""

    def __init__(self) -> None:
        super().__init__("a recovery of this store is under way already")


class UnknownPlan(PagefoldError):
    """No plan with this id is kept."""

    def __init__(self, plan: str) -> None:
        super().__init__(f"no plan {plan!r} is kept: `pagefold plans list` lists them")


class PlanDecided(PagefoldError):
    """The plan is no longer open."""

    def __init__(self, plan: str, state: str) -> None:
        super().__init__(f"the plan {plan} is {state} already")


class CountChanged(PagefoldError):
    """What a decision was made about is of another number by now. Nothing was done."""

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(f"expected {expected:,}, but it is {found:,} by now: look again")


class PlanOutdated(PagefoldError):
    """A plan began from what counts no longer. Nothing was changed."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the plan is out of date: {reason}; nothing was changed. `pagefold plan` makes another")
        self.reason = reason


class UnreadablePlan(PagefoldError):
    """A file has no plan."""

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(f"{file} has no plan: {problem}; `pagefold plan --save FILE` writes one")


class PagesWouldGo(PagefoldError):
    """A recovery would remove many pages, and was not confirmed. Nothing was changed.

    `lost` of `shown` pages would go, because the log has no events of them.
    """

    def __init__(self, lost: int, shown: int) -> None:
        which = "all" if lost == shown else f"{lost:,} of"
        pages = "page" if shown == 1 else "pages"
        super().__init__(
            f"{which} {shown:,} {pages} would go, because the log has nothing of them; nothing was changed."
            " Put the right log back (`pagefold restore` does, from a backup); or, if this is the one, "
            "`pagefold recover --yes`"
        )
        self.lost = lost
        self.shown = shown


# --- dead letters and tokens ----------------------------------------------------------------------


class UnknownDeadLetter(PagefoldError):
    """There is no dead letter with this id."""

    def __init__(self, identifier: str) -> None:
        super().__init__(f"there is no dead letter {identifier!r}; `pagefold dead-letters list` shows them")


class DeadLetterResolved(PagefoldError):
    """The dead letter was resolved before: nothing is left to decide. `by` is who did that, if a person."""

    def __init__(self, identifier: str, resolution: str | None, by: str | None, at: str | None) -> None:
        person = f" by {by}" if by is not None else ""
        super().__init__(f"dead letter {identifier} is no longer open: {resolution}{person} at {at}")


class FeedReset(PagefoldError):
    """A cursor of the feed that cannot be continued.

    A follower starts again from 0. What it has, and what is not named until the replay is over, is gone.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the cursor cannot be continued: {reason}; start again from 0")
        self.reason = reason


class UnknownCursor(PagefoldError):
    """The cursor is not one that a list returned."""

    def __init__(self, cursor: str) -> None:
        super().__init__(f"{cursor!r} is not a cursor; pass the `next` of the previous list")


class InvalidTokenRequest(PagefoldError):
    """A token that cannot be made. `part` says what is wrong: `scope`, `source`, `expires` or `label`."""

    def __init__(self, part: str, problem: str) -> None:
        super().__init__(f"{part}: {problem}")
        self.part = part


class UnknownToken(PagefoldError):
    """There is no token with this name, which is given without its secret."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no token {name!r}; `pagefold tokens list` shows them")


# --- rebuilds -------------------------------------------------------------------------------------


class UnknownRun(PagefoldError):
    """There is no rebuild with this id."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"there is no rebuild {run_id!r}; `pagefold rebuilds list` shows them")


class RebuildInProgress(PagefoldError):
    """The source is being rebuilt already. `by` describes the run that does."""

    def __init__(self, source: str, by: str) -> None:
        super().__init__(f"{source} is being rebuilt by {by}; a source is rebuilt by one run at a time")


class SyncInProgress(PagefoldError):
    """The source is being asked for changes already."""

    def __init__(self, source: str) -> None:
        super().__init__(f"{source}: another process is asking it for changes")


class UnknownRequest(PagefoldError):
    """There is no request with this number, or not any more."""

    def __init__(self, number: int) -> None:
        super().__init__(f"there is no request {number}; the newest 100 of each kind are kept")


class RequestConflict(PagefoldError):
    """What is asked for was asked for already, or is no longer as it was seen. Nothing was done."""

    def __init__(self, task: str, reason: str) -> None:
        super().__init__(f"{task}: {reason}; nothing was done")


class RunNotResumable(PagefoldError):
    """The run cannot be resumed."""

    def __init__(self, run_id: str, source: str, reason: str) -> None:
        instead = f"`pagefold rebuild --source {source}` begins another"
        super().__init__(f"the rebuild {run_id} cannot be resumed: {reason}; {instead}")


class RunTakenOver(PagefoldError):
    """Another process has resumed the run since this one read it."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"the rebuild {run_id} was taken over by another process")


class RunStateError(PagefoldError):
    """The run's state does not allow the operation."""

    def __init__(self, run_id: str, operation: str, state: str) -> None:
        super().__init__(f"the rebuild {run_id} cannot {operation}: it is {state}")


class RowsOutOfOrder(PagefoldError):
    """A snapshot's rows are not in the order of their streams."""

    def __init__(self) -> None:
        super().__init__("the rows are not in the order of their streams")


class SpillFailed(PagefoldError):
    """The temporary file in which a snapshot is sorted cannot be written or read."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"cannot sort the snapshot in a temporary file: {error}; TMPDIR names the folder of the file")


RETRYABLE = (StoreUnavailable,)
"""The errors that may pass by themselves. All others are reported and not retried."""
