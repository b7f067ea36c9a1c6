"""Decides whether a snapshot proves what it lacks, once all of its rows are in order."""

from typing import NamedTuple

from pagefold.engine.snapshots.snapshot import Snapshot

MIN_SHARE_PERCENT = 95
"""The least rows, in per cent of the last complete run, of a file that has no end marker."""


class Verdict(NamedTuple):
    """Whether a snapshot is complete, and if not, why. `baseline` is what the next one is measured by."""

    complete: bool
    reason: str
    baseline: int | None


def judge(snapshot: Snapshot, repetitions: int, baseline: int | None, *, confirmed: bool) -> Verdict:
    """Judges a snapshot that was read as far as possible.

    `repetitions` counts rows that name again what an earlier row named. `baseline` is the number of distinct rows in
    the source's last complete snapshot, None if there was none; `confirmed`: an operator accepts a file that became
    smaller.
    """
    end = snapshot.end
    if end is None:
        raise AssertionError(snapshot)  # batches that have ended say how
    rows, surplus = snapshot.rows - repetitions, snapshot.surplus
    if snapshot.by_size:
        return _judge_size(rows, baseline, confirmed=confirmed)
    if surplus is None or not (end.complete or surplus):
        return Verdict(end.complete, end.reason, rows if end.complete else baseline)
    if surplus == repetitions:
        return Verdict(complete=True, reason="", baseline=rows)
    reason = end.reason
    if repetitions:
        again = f"{repetitions:,} of its rows {'repeats' if repetitions == 1 else 'repeat'} what an earlier one said"
        reason = f"{reason}; {again}" if reason else f"{again}: rows have shifted, so that others are missing"
    return Verdict(complete=False, reason=reason, baseline=baseline)


def _judge_size(rows: int, baseline: int | None, *, confirmed: bool) -> Verdict:
    """Judges a file without an end marker that the configuration trusts."""
    if baseline is None:
        reason = f"the first of its kind: it has no end marker, and no earlier one to measure its {rows:,} rows by"
        return Verdict(complete=False, reason=reason, baseline=rows)
    if confirmed or rows * 100 >= baseline * MIN_SHARE_PERCENT:
        return Verdict(complete=True, reason="", baseline=rows)
    reason = f"it has {rows:,} rows, fewer than {MIN_SHARE_PERCENT} % of the {baseline:,} of the last complete one; --yes takes it"
    return Verdict(complete=False, reason=reason, baseline=baseline)
