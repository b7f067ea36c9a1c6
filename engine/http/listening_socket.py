"""The listening socket: opening it, and closing it without losing connections.

The system accepts connections before any process knows of them; they are lost if the socket is closed before the
process accepts them. So at the end the kernel refuses new connections, and all waiting ones are accepted,
before the socket is closed. Linux supports this; on other systems a connection may be lost in between.
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

CONNECT_SECONDS = 0.1
"""How long connections that are being established get to complete, once new ones are refused."""

_SO_ATTACH_FILTER = 26
_INSTRUCTION = struct.Struct("HBBI")
_ONLY_KNOWN = (
    (0x30, 0, 0, 13),  # load the flags of the segment
    (0x54, 0, 0, 0x12),  # of which SYN and ACK
    (0x15, 0, 1, 0x02),  # if it is a SYN alone, which begins a connection
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # else take it
)
"""A filter for the listening socket:

it drops the first segment of a new connection, and the client tries again after a second.
"""

log = Logger(__name__)


def listen(host: str, port: int) -> socket.socket:
    """Opens a socket that listens there, or at any free port for port 0. Raises `AddressUnavailable`."""
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
    """The URL for clients."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def stop_accepting(listener: socket.socket) -> None:
    """Stops accepting new connections on the socket, in every process that has it, where the system supports it."""
    if sys.platform != "linux":
        return
    text = b"".join(_INSTRUCTION.pack(*each) for each in _ONLY_KNOWN)
    program = ctypes.create_string_buffer(text)
    with suppress(OSError):  # a system without filters
        filtering = struct.pack("HL", len(_ONLY_KNOWN), ctypes.addressof(program))
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filtering)


def pending_connections(listener: socket.socket) -> Iterator[socket.socket]:
    """All established connections that were not accepted yet."""
    while True:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        except ConnectionAbortedError:  # the client has disconnected
            continue
        except OSError as error:
            log.warning("cannot accept a connection", error=str(error))
            return
        connection.setblocking(False)  # noqa: FBT003  # it has no name there
        yield connection


async def attach_protocol(connection: socket.socket, protocol: Any) -> None:  # noqa: ANN401  # one of uvicorn's kind
    """Attaches a protocol to a connection."""
    try:
        await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, connection)
    except OSError:  # the client has disconnected
        connection.close()


async def attach_protocols(listener: socket.socket, make: Callable[[], Any]) -> None:
    """Attaches protocols to all established connections that were not accepted yet."""
    await asyncio.gather(*[attach_protocol(connection, make()) for connection in pending_connections(listener)])
