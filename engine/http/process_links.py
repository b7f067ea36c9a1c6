"""The processes that share a port and the sockets between them: the first is the worker, the others are readers."""

import socket
from typing import NamedTuple, Self

from pagefold.engine.http.process_board import ProcessBoard

WORKER = 1
"""The number of the worker, which takes changes, folds and serves operators. Readers follow."""


class SocketPair(NamedTuple):
    """A pair of sockets, one end for the worker and one shared by all readers; neither blocks.

    A message to several readers goes to the first that receives it.
    """

    worker: socket.socket
    readers: socket.socket

    @classmethod
    def open(cls, kind: socket.SocketKind) -> Self:
        """Opens a new pair."""
        ends = socket.socketpair(socket.AF_UNIX, kind)
        for end in ends:
            end.setblocking(False)  # noqa: FBT003  # it has no name there
        return cls(*ends)

    def end(self, number: int) -> socket.socket:
        """The end for a process, by its number."""
        return self.worker if number == WORKER else self.readers

    def close(self) -> None:
        """Closes both ends."""
        self.worker.close()
        self.readers.close()


class ProcessLinks(NamedTuple):
    """The sockets for passing connections and for counters, and the shared board.

    Open it before forking. All processes keep both ends, so that the replacement of a killed process finds what was
    sent to it.
    """

    connections: SocketPair
    counters: SocketPair
    board: ProcessBoard

    @classmethod
    def open(cls, processes: int) -> Self:
        """Opens the links for this many processes."""
        return cls(SocketPair.open(socket.SOCK_STREAM), SocketPair.open(socket.SOCK_DGRAM), ProcessBoard(processes))

    def close(self) -> None:
        """Closes the sockets."""
        self.connections.close()
        self.counters.close()
