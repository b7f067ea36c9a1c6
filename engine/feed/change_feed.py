"""Followers of the pages in one process: one of them looks for changes, and the newest are kept for all.

A follower that is up to date gets what was read for all, and costs a filter. One that is behind reads by its own
cursor; nothing is kept for it.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

import anyio

from pagefold.engine.errors import FeedReset, StoreError
from pagefold.engine.feed.feed_cursor import FeedCursor
from pagefold.engine.feed.feed_reader import STEP_CHANGES, FeedReader, rest_seconds
from pagefold.engine.feed.page_change import EVERYTHING, FeedSelection, FeedStep, PageChange
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.runtime.wake_signal import WakeSignal
from pagefold.engine.stores.store import Log

REST_SECONDS = 0.02
"""How long after changes were found no more are looked for: those that come fast are then read together."""

REST_PER_FOLLOWER_SECONDS = 0.000_05
"""As much longer for each follower that waits: so long, about, it takes to wake them."""

MIN_LOOK_SECONDS, MAX_LOOK_SECONDS = 0.002, 1.0
"""How long to wait for a fold after the log has grown, doubled with every look; and for changes that give no hint."""

CONFIRM_SECONDS = 5.0
"""How often it is checked, while nothing changes, that the log is still the same."""

RETRY_SECONDS = 1.0

MAX_KEPT_CHANGES = 20_000
MAX_KEPT_WINDOWS = 64
"""What is kept for all, so that who has just handled one window need not read the next one itself."""

MAX_MADE = 256
"""Selections for which a window keeps what was made of it."""

MAX_OWN_READS = 4
"""Followers that read on their own at the same time: others, and page reads, run between."""

Made = TypeVar("Made")

log = Logger(__name__)


class FeedWindow:
    """Changes between two cursors, read once for all followers. `began_at` is when the pages began to be read."""

    def __init__(self, start: FeedCursor, step: FeedStep, began_at: float) -> None:
        self.start = start
        self.end = step.cursor
        self.began_at = began_at
        self.changes = step.changes
        self._made: dict[object, object] = {}

    def selected(self, selection: FeedSelection) -> list[PageChange]:
        """The changes that are wanted."""
        return self.made(selection, lambda: [change for change in self.changes if selection.has(change)])

    def made(self, key: object, make: Callable[[], Made]) -> Made:
        """What is made of the window, once for all who ask with the same key."""
        if (found := self._made.get(key)) is not None:
            kept: Made = found  # type: ignore[assignment]  # what is under a key is of its type
            return kept
        made = make()
        if len(self._made) < MAX_MADE:
            self._made[key] = made
        return made


class ChangeFeed:
    """Follows the pages for everybody in this process. While nobody waits, nothing is read."""

    def __init__(self, reader: FeedReader, source: Log) -> None:
        self.reader = reader
        self._log = source
        self._signal = WakeSignal()
        self._windows: deque[FeedWindow] = deque()
        self._end: FeedCursor | None = None
        self._looked_at = self._confirmed_at = float("-inf")
        self._is_read = False
        self._rest_seconds = 0.0
        self._own_reads = anyio.Semaphore(MAX_OWN_READS)

    async def resolve(self, after: str) -> FeedCursor:
        """The cursor of a text: `0` is before every page, `now` after. Raises `UnknownCursor`."""
        if after in {"0", "now"}:
            return await self.reader.start(replay=after == "0")
        return FeedCursor.parse(after)

    def wake(self) -> None:
        """Wakes all who wait, so that they can see that they should end."""
        self._signal.set()

    # --- what is read for all ------------------------------------------------------------------------

    def window_from(self, cursor: FeedCursor) -> FeedWindow | None:
        """The kept window that begins exactly at a cursor."""
        return next((each for each in self._windows if each.start == cursor), None)

    def window_since(self, read_at: float) -> FeedWindow | None:
        """The oldest kept window whose pages were read after a time (`time.monotonic`)."""
        return next((each for each in self._windows if each.began_at > read_at), None)

    def is_end(self, cursor: FeedCursor) -> bool:
        """Whether a cursor is where what is read for all ends."""
        return cursor == self._end

    def end_for(self, cursor: FeedCursor, read_at: float) -> FeedCursor:
        """The end of what is read for all, if it is at the same place and was found later; else the cursor itself."""
        end = self._end
        if end is None or self._looked_at < read_at or end.witness.position < cursor.witness.position:
            return cursor
        return end if end.is_covered_by(cursor) and cursor.is_covered_by(end) else cursor

    async def own_step(self, cursor: FeedCursor, selection: FeedSelection, limit: int, *, documents: bool) -> FeedStep:
        """Reads a step for one follower, when it is its turn."""
        async with self._own_reads:
            return await self.reader.step(cursor, selection, limit=limit, documents=documents)

    async def wait(self, cursor: FeedCursor, read_at: float, seconds: float) -> None:
        """Returns when there may be something after a cursor, or after `seconds`; or when woken.

        That is when a window was read after the time `read_at`, or something was read for all that is not before the
        cursor.
        """
        deadline = time.monotonic() + seconds
        count = self._signal.count
        while self._signal.count == count and (seconds_left := deadline - time.monotonic()) > 0:
            if self.window_since(read_at) is not None or (self._end is not None and self._end.is_ahead_of(cursor)):
                return
            if self._is_read:
                await self._signal.wait(seconds_left, count)
            else:
                await self._read_for_all(deadline, count)

    async def _read_for_all(self, deadline: float, count: int) -> None:
        """Looks for changes until there are some, or for that time. Then another one does it."""
        self._is_read = True
        pause = MIN_LOOK_SECONDS
        try:
            if time.monotonic() - self._looked_at > CONFIRM_SECONDS:  # nobody has waited for long
                self._forget()
            while self._signal.count == count and (seconds_left := deadline - time.monotonic()) > 0:
                hints, known = self._log.hints, self._end
                if await self._look() or known is None:
                    return
                await self._log.wait_for_hint(hints, min(pause, seconds_left))
                pause = MIN_LOOK_SECONDS if self._log.hints > hints else min(2 * pause, MAX_LOOK_SECONDS)
        finally:
            self._is_read = False
            self._signal.wake_one()  # it continues

    async def _look(self) -> bool:
        """Reads the next window, if anything has changed. Whoever waits is woken then."""
        try:
            return await self._read()
        except FeedReset as reset:
            log.warning("followers start again", reason=reset.reason)
            self._forget()
            self._signal.set()
            return True
        except StoreError as error:
            log.warning("changes cannot be read", error=str(error))
            await anyio.sleep(RETRY_SECONDS)
            return False

    async def _read(self) -> bool:
        began_at = time.monotonic()
        rest = max(REST_SECONDS, self._signal.waiting * REST_PER_FOLLOWER_SECONDS, self._rest_seconds)
        if self._windows and (seconds := self._windows[-1].began_at + rest - began_at) > 0:
            await anyio.sleep(seconds)
            began_at = time.monotonic()
        if self._end is None:
            self._end = await self.reader.start(replay=False)
        elif began_at - self._confirmed_at > CONFIRM_SECONDS:
            await self.reader.refresh()
            await self.reader.confirm(self._end)
            self._confirmed_at = began_at
        found = not await self.reader.is_unchanged(self._end)
        if found:
            step = await self.reader.step(self._end, limit=STEP_CHANGES)
            self._rest_seconds = rest_seconds(step, time.monotonic() - began_at)
            found = step.cursor != self._end
            self._keep(FeedWindow(self._end, step, began_at))
        self._looked_at = began_at
        return found

    def _keep(self, window: FeedWindow) -> None:
        self._end = window.end
        if window.start == window.end:
            return
        self._windows.append(window)
        while len(self._windows) > 1 and (
            len(self._windows) > MAX_KEPT_WINDOWS
            or sum([len(each.changes) for each in self._windows]) > MAX_KEPT_CHANGES
        ):
            self._windows.popleft()
        self._signal.set()

    def _forget(self) -> None:
        self._windows.clear()
        self._end = None


class Follower:
    """One follower: its `cursor`, and the `selection` that it wants, in steps of about `limit` changes.

    `read_at` is when the pages that it has were read at the latest. `window` is the one that the last step is from, if
    it was read for all.
    """

    def __init__(
        self,
        feed: ChangeFeed,
        cursor: FeedCursor,
        selection: FeedSelection = EVERYTHING,
        *,
        documents: bool = False,
        limit: int = STEP_CHANGES,
    ) -> None:
        self._feed = feed
        self.selection = selection
        self._documents = documents
        self._limit = limit
        self.cursor = cursor
        self.read_at = time.monotonic()
        self.window: FeedWindow | None = None

    async def step(self) -> FeedStep:
        """The next step, which may have no changes. Raises `FeedReset`, `StoreError`."""
        self.window = None if self._documents else self._next_window()
        if self.window is not None:
            self.cursor, self.read_at = self.window.end, max(self.read_at, self.window.began_at)
            up_to_date = self._feed.is_end(self.cursor)
            return FeedStep(self.window.selected(self.selection), self.cursor, up_to_date, self.cursor.is_replay)
        if self._feed.is_end(self.cursor) and self._feed.window_since(self.read_at) is None:
            return FeedStep([], self.cursor, up_to_date=True, replaying=False)
        step = await self._feed.own_step(self.cursor, self.selection, self._limit, documents=self._documents)
        self.cursor, self.read_at = step.cursor, time.monotonic()
        return step

    async def wait(self, seconds: float) -> None:
        """Returns when there may be more, or after that time."""
        await self._feed.wait(self.cursor, self.read_at, seconds)
        self.cursor = self._feed.end_for(self.cursor, self.read_at)

    def _next_window(self) -> FeedWindow | None:
        """A window that was read for all, and continues where this follower is.

        Either it begins exactly at the cursor, or it was read after all that the follower has, so that no page is given
        in an older state than before.
        """
        if (exact := self._feed.window_from(self.cursor)) is not None:
            return exact
        window = self._feed.window_since(self.read_at)
        return window if window is not None and window.start.is_covered_by(self.cursor) else None
