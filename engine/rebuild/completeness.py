"""Whether a snapshot proves what it does not have, when all of its rows have been put in order."""

from typing import NamedTuple

from pagefold.engine.snapshots.snapshot import Snapshot

LEAST_SHARE = 95
"""Per cent of the rows of the last complete run that a file has at least which nothing but its length vouches for."""


class Verdict(NamedTuple):
    """Whether a snapshot is complete, and if not, why. `baseline` is what the next one is measured by."""

    complete: bool
    reason: str
    baseline: int | None


def judge(snapshot: Snapshot, repetitions: int, baseline: int | None, *, confirmed: bool) -> Verdict:
    """The verdict on a snapshot that was read as far as it goes.

    So many of its rows name again what an earlier one named. `baseline` is how many distinct rows the last complete one
    of the source had, None where there was none; when `confirmed`, somebody answers for a file that has become smaller.
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
    """Of a file without an end marker, which the configuration trusts."""
    if baseline is None:
        reason = f"the first of its kind: it has no end marker, and no earlier one to measure its {rows:,} rows by"
        return Verdict(complete=False, reason=reason, baseline=rows)
    if confirmed or rows * 100 >= baseline * LEAST_SHARE:
        return Verdict(complete=True, reason="", baseline=rows)
    reason = (
        f"it has {rows:,} rows, fewer than {LEAST_SHARE} % of the {baseline:,} of the last complete one; --yes takes it"
    )
    return Verdict(complete=False, reason=reason, baseline=baseline)
