"""Epochs, from the rows of the log only: which were raised, and which one each event had to enter."""

from collections.abc import Collection, Mapping

from tests.simulation.checks import Files
from tests.simulation.journal import Journal
from tests.simulation.model import DOMAINS, EPOCHS, VERSION_BITS, Row, encoded, in_order
from tests.simulation.snapshots import Snapshot


class Epochs:
    """The epochs up to some position of the log."""

    def __init__(self) -> None:
        self._raised: dict[str, int] = {}
        self._newest: dict[str, int] = {}
        self._versions: set[tuple[str, int]] = set()

    def learn(self, row: Row) -> None:
        """Adds the next event of the log."""
        if row.stream == EPOCHS and row.state["what"] == "raised":
            scope, epoch = row.state["scope"], row.state["epoch"]
            self._raised[scope] = max(self._raised.get(scope, 0), epoch)
        if row.topic in DOMAINS:
            self._newest[row.stream] = max(self._newest.get(row.stream, 0), row.version)
            self._versions.add((row.stream, row.version))

    def is_known(self, row: Row) -> bool:
        """Whether the log has its version already."""
        return (row.stream, row.version) in self._versions

    def floor(self, stream: str) -> int:
        """The epoch that was raised for a stream or its source."""
        return max(self._raised.get(stream, 0), self._raised.get(stream.rpartition("/")[2], 0))

    def newest(self, stream: str) -> int:
        """The epoch of the newest event of a stream."""
        return self._newest.get(stream, 0) // VERSION_BITS

    def current(self, stream: str) -> int:
        """The epoch that an event without one enters."""
        return max(self.floor(stream), self.newest(stream))

    def placed(self, stream: str, version: int, named: int | None, head: Row) -> int:
        """The version in the log of a row with this epoch, with this head in its stream."""
        epoch = max(self.floor(stream), head.epoch) if named is None else named
        return epoch * VERSION_BITS + version


def check_epochs(files: Files, journal: Journal, snapshots: Mapping[str, Snapshot], asked: Collection[str]) -> None:
    """I2 for epochs: each was raised by a request, and every event is in the one that it enters."""
    epochs = Epochs()
    for row in files.log:
        if row.stream == EPOCHS:
            _check_note(row, snapshots, asked)
        elif row.topic in DOMAINS and row.state.get("drift") == "orphan":
            assert epochs.is_known(row), f"I2: {row} withdraws a version that there is not"
        elif row.topic in DOMAINS:
            allowed = _allowed(row, epochs, journal, snapshots)
            assert row.epoch in allowed, f"I2: {row} is in epoch {row.epoch}, not in one of {sorted(allowed)}"
        epochs.learn(row)


def _check_note(row: Row, snapshots: Mapping[str, Snapshot], asked: Collection[str]) -> None:
    if row.state["what"] == "raised":
        run, scope = row.state.get("runId"), row.state["scope"]
        requested = scope in asked if run is None else run in snapshots and snapshots[run].new_epoch
        assert requested, f"I2: {row} was not requested"


def _allowed(row: Row, epochs: Epochs, journal: Journal, snapshots: Mapping[str, Snapshot]) -> set[int]:
    """The epochs in which an event may be that was appended now."""
    if row.state.get("drift") == "recreated":
        return {max(epochs.floor(row.stream), epochs.newest(row.stream) + 1)}
    run = row.state.get("runId")
    if run is None:
        named = journal.epochs[row.place, encoded(in_order(row.state["payload"]))]
    else:
        named = {snapshots[run].rows[row.stream].epoch}
    return {epochs.current(row.stream) if epoch is None else epoch for epoch in named}
