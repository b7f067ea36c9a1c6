"""Decides whether a snapshot is complete, so that a stream without a row counts as deleted."""

from typing import NamedTuple

from pagefold.engine.snapshots.snapshot import Snapshot

MIN_SHARE_PERCENT = 95
"""Minimum rows of a file without an end marker, in per cent of the last complete run's."""


class Verdict(NamedTuple):
    """Whether a snapshot is complete, and if not, why. The next snapshot is measured by `baseline`."""

    complete: bool
    reason: str
    baseline: int | None


def judge(snapshot: Snapshot, repetitions: int, baseline: int | None, *, confirmed: bool) -> Verdict:
    """Judges a snapshot that was read as far as possible.

    `repetitions` counts rows that repeat an earlier row's stream. `baseline` is the number of distinct rows in the
    source's last complete snapshot, None if there was none; `confirmed`: an operator accepts a smaller file.
    """
    end = snapshot.end
    if end is None:
        raise AssertionError(snapshot)  # a snapshot sets it when its batches end
    rows, surplus = snapshot.rows - repetitions, snapshot.surplus
    if snapshot.by_size:
        return _judge_size(rows, baseline, confirmed=confirmed)
    if surplus is None or not (end.complete or surplus):
        return Verdict(end.complete, end.reason, rows if end.complete else baseline)
    if surplus == repetitions:
        return Verdict(complete=True, reason="", baseline=rows)
    reason = end.reason
    if repetitions:
        repeated = f"{repetitions:,} of its rows {'repeats' if repetitions == 1 else 'repeat'} an earlier one"
        reason = f"{reason}; {repeated}" if reason else f"{repeated}: rows shifted between pages, so others are missing"
    return Verdict(complete=False, reason=reason, baseline=baseline)


def _judge_size(rows: int, baseline: int | None, *, confirmed: bool) -> Verdict:
    """Judges a file without an end marker that the configuration trusts."""
    if baseline is None:
        reason = f"it has no end marker, and no earlier snapshot to compare its {rows:,} rows with"
        return Verdict(complete=False, reason=reason, baseline=rows)
    if confirmed or rows * 100 >= baseline * MIN_SHARE_PERCENT:
        return Verdict(complete=True, reason="", baseline=rows)
    reason = (
        f"it has {rows:,} rows, fewer than {MIN_SHARE_PERCENT} % of the {baseline:,} of the last complete one; "
        "--yes accepts it"
    )
    return Verdict(complete=False, reason=reason, baseline=baseline)
