"""What a run of a rebuild is asked to do, and what it counts."""

from typing import TypedDict

import msgspec

from pagefold.domains.domain import JSON


class RunCounts(msgspec.Struct, gc=False):
    """Numbers of rows and orphans, by result.

    `repeated` rows name a stream that an earlier row named; `refused` rows broke a rule, and the `unreadable` ones
    among them do not even name a stream; `elsewhere` rows name an unknown channel. `orphans` are candidates: some are
    `withdrawn`, others `spared`, because their source has sent an event since. `uncovered` streams are not withdrawn,
    and the snapshot cannot name them. `older` rows are older than the log; `reset` counts those whose snapshot was
    taken after the newer event. `recreated` rows proved to be recreated records, and no longer count as older.
    `left_out` rows do not count, according to the contract. `deferred` differences are left to a run that repairs all.
    `echoes` say only what their source, which is a target, too, was sent.
    """

    rows: int = 0
    equal: int = 0
    missing: int = 0
    newer: int = 0
    changed: int = 0
    older: int = 0
    repeated: int = 0
    refused: int = 0
    unreadable: int = 0
    orphans: int = 0
    withdrawn: int = 0
    spared: int = 0
    elsewhere: int = 0
    uncovered: int = 0
    reset: int = 0
    recreated: int = 0
    left_out: int = 0
    deferred: int = 0
    echoes: int = 0

    def __add__(self, other: "RunCounts") -> "RunCounts":
        both = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return RunCounts(*(one + another for one, another in both))

    def as_dict(self) -> dict[str, int]:
        """The counts by name, without zeros."""
        return {name: number for name, number in msgspec.structs.asdict(self).items() if number}

    @classmethod
    def of(cls, numbers: dict[str, int]) -> "RunCounts":
        """The inverse of `as_dict`. Unknown names are ignored."""
        return msgspec.convert(numbers, cls)


class Cursor(TypedDict):
    """Where comparing resumes: after a place in the snapshot, in the snapshot's form, and after a stream."""

    snapshot: JSON
    stream: str


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is to do. `process` is `host:pid`.

    `start_position` is the end of the log when the run begins. `snapshot` is the snapshot's name, `identity` its
    identity, `written_at` the earliest time that its export may have begun, as fixed-width UTC text. `prefix` is a
    prefix of SKUs, "" for all; `max_orphans` is as in the configuration. The snapshot may lack events of the last
    `settle` seconds before it was taken. `baseline` is the number of distinct rows in the source's last complete
    snapshot, None if there was none. `keeps_absent`: what the snapshot lacks is not withdrawn, whatever it proves.
    `first` is what alone is repaired, see `RepairPriority`; "" for everything.
    """

    source: str
    domains: list[str]
    start_position: int
    snapshot: str
    identity: str
    process: str
    prefix: str = ""
    max_orphans: JSON = None
    written_at: str | None = None
    settle: float = 0.0
    baseline: int | None = None
    keeps_absent: bool = False
    first: str = ""
