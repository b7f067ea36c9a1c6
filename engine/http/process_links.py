"""The processes that share a port, and the ways between them: the first one works, the others read."""

import socket
from typing import NamedTuple, Self

from pagefold.engine.http.process_board import Board

WORKER = 1
"""The number of the process that takes changes, folds, and is asked by operators. Those of the others follow."""


class SocketPair(NamedTuple):
    """A pair of sockets, an end for the process that works and one for all that read; none of them ever waits.

    Whoever of several comes first takes what is sent to them.
    """

    worker: socket.socket
    readers: socket.socket

    @classmethod
    def open(cls, kind: socket.SocketKind) -> Self:
        """A new one."""
        ends = socket.socketpair(socket.AF_UNIX, kind)
        for end in ends:
            end.setblocking(False)  # noqa: FBT003  # it has no name there
        return cls(*ends)

    def end(self, number: int) -> socket.socket:
        """That of a process, by its number."""
        return self.worker if number == WORKER else self.readers

    def close(self) -> None:
        """Both ends."""
        self.worker.close()
        self.readers.close()


class ProcessLinks(NamedTuple):
    """The ways on which connections are passed on, and on which readers tell their numbers; and what all may know.

    To be opened before there are processes. All of them keep both ends, so that whoever takes the place of one that was
    killed finds what was sent to it.
    """

    connections: SocketPair
    numbers: SocketPair
    board: Board

    @classmethod
    def open(cls, processes: int) -> Self:
        """New ones, for so many processes."""
        return cls(SocketPair.open(socket.SOCK_STREAM), SocketPair.open(socket.SOCK_DGRAM), Board(processes))

    def close(self) -> None:
        """Both ways."""
        self.connections.close()
        self.numbers.close()
