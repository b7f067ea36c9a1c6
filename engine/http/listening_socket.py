"""The socket that a server listens on: how it is opened, and how it is closed without losing anybody.

Whoever connects is let in by the system, before any process knows of it, and lost when the socket is closed before he
is accepted. So at the end the system is told to let nobody in any more, and all who are in are accepted, before it is
closed. Linux can be told so; elsewhere somebody may come in between.
"""

import asyncio
import ctypes
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from pagefold.engine.errors import AddressUnavailable
from pagefold.engine.runtime.logs import Logger

BACKLOG = 2_048

SECONDS_TO_COME_IN = 0.1
"""How long those may take to come in who were about to, when nobody else is let in any more."""

_SO_ATTACH_FILTER = 26
_INSTRUCTION = struct.Struct("HBBI")
_ONLY_KNOWN = (
    (0x30, 0, 0, 13),  # load the flags of the segment
    (0x54, 0, 0, 0x12),  # of which SYN and ACK
    (0x15, 0, 1, 0x02),  # if it is a SYN alone, which begins a connection
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # else take it
)
"""A filter for a socket that listens. Whoever begins to connect gets no answer, and tries again in a second."""

log = Logger(__name__)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; at any free port for port 0. Raises `AddressUnavailable`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise AddressUnavailable(host, port, error.strerror or str(error)) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)  # noqa: FBT003  # it has no name there
    except OSError as error:
        listener.close()
        raise AddressUnavailable(host, port, error.strerror or str(error)) from None
    return listener


def address_of(listener: socket.socket) -> str:
    """Where clients find it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def let_nobody_in(listener: socket.socket) -> None:
    """Lets nobody begin to connect any more, whichever process has the socket, as far as the system can."""
    if sys.platform != "linux":
        return
    text = b"".join(_INSTRUCTION.pack(*each) for each in _ONLY_KNOWN)
    program = ctypes.create_string_buffer(text)
    with suppress(OSError):  # a system that has no filters
        filtering = struct.pack("HL", len(_ONLY_KNOWN), ctypes.addressof(program))
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filtering)


def accepted(listener: socket.socket) -> Iterator[socket.socket]:
    """All who are in and not accepted yet."""
    while True:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        except ConnectionAbortedError:  # he has gone meanwhile
            continue
        except OSError as error:
            log.warning("cannot accept a connection", error=str(error))
            return
        connection.setblocking(False)  # noqa: FBT003  # it has no name there
        yield connection


async def attend(connection: socket.socket, protocol: Any) -> None:  # noqa: ANN401  # one of uvicorn's kind
    """Has a protocol speak with whoever is connected."""
    try:
        await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, connection)
    except OSError:  # he has gone
        connection.close()


async def attend_all(listener: socket.socket, make: Callable[[], Any]) -> None:
    """Has protocols speak with all who are in and not accepted yet."""
    await asyncio.gather(*[attend(connection, make()) for connection in accepted(listener)])
