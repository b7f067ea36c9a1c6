"""What the screen of targets says about them. Pure, but for the rates, which remember the last seconds."""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, assert_never

from pagefold.engine.configuration.target_config import TargetConfig
from pagefold.engine.dashboard.formats import duration, plural
from pagefold.engine.dashboard.screen import State
from pagefold.engine.delivery.receipts import Receipt
from pagefold.engine.delivery.target_service import TargetState, TargetStatus
from pagefold.engine.stores.delivery_records import UNKNOWN, WITHDRAWN, DeliveryState, Holding

STATES: Mapping[TargetState, tuple[State, str]] = {
    "starting": ("wait", "Not begun"),
    "idle": ("ok", "Up to date"),
    "delivering": ("move", "Delivering"),
    "slowed": ("warn", "Slowed"),
    "down": ("bad", "Down, probed"),
    "failing": ("bad", "Not set up"),
    "disabled": ("bad", "Disabled"),
    "paused": ("held", "Paused"),
    "removed": ("wait", "No longer configured"),
}

RECEIPT_STATES: Mapping[DeliveryState, tuple[State, str]] = {
    "current": ("ok", "holds it"),
    "waiting": ("move", "waits"),
    "held": ("held", "held for its group"),
    "dead": ("bad", "given up"),
    "discarded": ("wait", "not sent, as decided"),
}

HOLDINGS: Mapping[Holding, str] = {
    "current": "the page as it is",
    "behind": "another version",
    "missing": "nothing",
    "surplus": "a page that is withdrawn",
    "none": "nothing, as it should",
}

RUNBOOKS: Mapping[TargetState, str] = {
    "down": "target-down",
    "failing": "target-down",
    "disabled": "target-down",
    "slowed": "delivery-throttled",
}

SECONDS = 30.0
"""The time that a rate is of."""

MIN_SECONDS = 2.0
"""The shortest time that a rate can be of."""

SHORT_TAG = 8


class Verdict(NamedTuple):
    """One sentence, what follows from it, and the section of the runbooks about it."""

    state: State
    title: str
    text: str
    runbook: str = ""


class Pace(NamedTuple):
    """What went to a target in the last seconds: pages and requests a second, and the share of 429 of them.

    None while nothing is known, or nothing was sent.
    """

    pages: float | None = None
    requests: float | None = None
    throttled: float | None = None


class Paces:
    """The paces of all targets. `ticks` is a clock of seconds."""

    def __init__(self, ticks: Callable[[], float] = time.monotonic) -> None:
        self._ticks = ticks
        self._samples: deque[tuple[float, dict[str, Mapping[str, int]]]] = deque()

    def add(self, found: Sequence[TargetStatus]) -> dict[str, Pace]:
        """Takes what is counted now, and returns the paces up to now, by target."""
        now = self._ticks()
        totals = {each.name: each.totals for each in found}
        while self._samples and now - self._samples[0][0] > SECONDS:
            self._samples.popleft()
        if not self._samples or now - self._samples[-1][0] >= 1:
            self._samples.append((now, totals))
        began, before = self._samples[0]
        length = now - began
        if length < MIN_SECONDS:
            return dict.fromkeys(totals, Pace())
        return {name: _pace(before.get(name, {}), counts, length) for name, counts in totals.items()}


def _pace(before: Mapping[str, int], now: Mapping[str, int], seconds: float) -> Pace:
    grown = {name: max(0, now.get(name, 0) - before.get(name, 0)) for name in ("delivered", "requests", "throttled")}
    share = 100 * grown["throttled"] / grown["requests"] if grown["requests"] else None
    return Pace(grown["delivered"] / seconds, grown["requests"] / seconds, share)


def verdict_on_all(found: Sequence[TargetStatus]) -> Verdict:
    """How all targets are doing: what is worst comes first, and what it means."""
    if broken := [each for each in found if each.is_out_of_order]:
        text = f"{_pages_wait(sum(each.waiting for each in broken))} Nothing is given up for that."
        return Verdict("bad", f"{_names(broken)} {_is(broken)} not delivered to", text, "target-down")
    if refusing := [each for each in found if each.dead]:
        pages = plural(sum(each.dead for each in refusing), "page")
        title = f"{_names(refusing)} {'has' if len(refusing) == 1 else 'have'} refused {pages} for good"
        text = "What it has refused is a dead letter, until the page changes or a person retries it."
        return Verdict("bad", title, text, "delivery-failures")
    if paused := [each for each in found if each.state == "paused"]:
        text = "What changes meanwhile waits, and is delivered once, as it is then."
        return Verdict("held", f"{_names(paused)} {_is(paused)} paused by a person", text)
    if waiting := sum(each.waiting for each in found):
        oldest = duration(max(each.waits_seconds or 0.0 for each in found))
        state: State = "warn" if any(each.state == "slowed" for each in found) else "move"
        title = f"{plural(waiting, 'page')} {'is' if waiting == 1 else 'are'} being delivered"
        return Verdict(state, title, f"The oldest change waits for {oldest}.")
    return _verdict_at_rest(found)


def _verdict_at_rest(found: Sequence[TargetStatus]) -> Verdict:
    if drifting := [each for each in found if each.drift]:
        title = f"{_names(drifting)} {'does' if len(drifting) == 1 else 'do'} not hold every page as it is"
        return Verdict("warn", title, "A person has decided that some are not sent, or it is no longer configured.")
    return Verdict("ok", "Every target holds every page as it is", "By its receipts, which name the exact bytes.")


def _is(found: Sequence[TargetStatus]) -> str:
    return "is" if len(found) == 1 else "are"


def _pages_wait(pages: int) -> str:
    return f"{plural(pages, 'page')} {'waits' if pages == 1 else 'wait'}."


def _names(found: Sequence[TargetStatus]) -> str:
    shown = [each.name for each in found[:3]]
    more = len(found) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def verdict_on(status: TargetStatus, config: TargetConfig | None) -> Verdict:
    """How one target is doing, and what a person may do."""
    state, waits = STATES[status.state][0], _pages_wait(status.waiting)
    match status.state:
        case "down":
            probe = f"in {duration(status.probe_seconds)}" if status.probe_seconds else "now"
            title, text = f"It is down: {status.reason}", f"{waits} Nothing is given up. It is probed {probe}."
        case "failing":
            title, text = f"It cannot be delivered to: {status.reason}", waits
        case "disabled":
            title, text = f"It is disabled: {status.reason}", f"{waits} Resume it once it is back."
        case "paused":
            title = f"It is paused by {status.by}: {status.reason}"
            text = f"{waits} What changes meanwhile waits, too."
        case "removed":
            title, text = "The configuration has it no more", "Its receipts are kept; nothing is sent."
        case "starting":
            title, text = "Nothing was delivered yet", "A worker begins with every page."
        case "slowed" | "delivering":
            are = "is" if status.waiting == 1 else "are"
            title, text = f"{plural(status.waiting, 'page')} {are} to be sent", _ends(status, config)
        case "idle":
            return _at_rest(status)
        case _ as never:
            assert_never(never)
    return Verdict(state, title, text, RUNBOOKS.get(status.state, ""))


def _at_rest(status: TargetStatus) -> Verdict:
    if status.dead:
        title = f"It has refused {plural(status.dead, 'page')} for good"
        return Verdict("bad", title, "Nothing else waits.", "delivery-failures")
    if status.drift:
        return Verdict("warn", "It does not hold every page as it is", "A person has decided that some are not sent.")
    return Verdict("ok", "It holds every page as it is", "By its receipts, which name the exact bytes.")


def _ends(status: TargetStatus, config: TargetConfig | None) -> str:
    words = "It has asked for fewer requests. " if status.state == "slowed" else ""
    words += "All pages are being made due again. " if status.resetting else ""
    seconds = seconds_to_deliver(status.waiting, config)
    return words + ("" if seconds is None else f"At its rate, that takes about {duration(seconds)}.")


def seconds_to_deliver(pages: int, config: TargetConfig | None) -> float | None:
    """How long so many pages take at the rate of a target; None if it has none."""
    if config is None or config.rate is None:
        return None
    pages_in_a_request = 1 if config.http is not None and not config.http.batches else config.batch
    return math.ceil(pages / pages_in_a_request) / config.rate


def place_of(config: TargetConfig | None) -> str:
    """Where a target is, without secrets: its address, or its folder."""
    if config is None:
        return ""
    table = getattr(config, config.kind, None)
    for key in ("url", "folder", "servers"):
        if (found := getattr(table, key, None)) is not None:
            return ", ".join(found) if isinstance(found, list) else str(found)
    return ""


def tag_words(tag: str | None) -> str:
    """A tag of a receipt, in a few characters or words."""
    match tag:
        case None:
            return "never sent"
        case _ if tag == UNKNOWN:
            return "not known"
        case _ if tag == WITHDRAWN:
            return "withdrawn"
        case _:
            return tag[:SHORT_TAG]


class ProductDelivery(NamedTuple):
    """A receipt of a product's page, as its screen shows it."""

    receipt: Receipt
    state: State
    words: str
    holds: str
    wanted: str
    acked: str


def delivery_of(receipt: Receipt) -> ProductDelivery:
    """What a target holds of a page, in words."""
    state, words = RECEIPT_STATES[receipt.state]
    if receipt.state == "current" and receipt.holding == "none":
        words = "withdrawn" if receipt.acked_tag == WITHDRAWN else "not to be held"
    wanted = "withdrawn" if receipt.wanted_tag == WITHDRAWN else tag_words(receipt.wanted_tag)
    return ProductDelivery(receipt, state, words, HOLDINGS[receipt.holding], wanted, tag_words(receipt.acked_tag))
