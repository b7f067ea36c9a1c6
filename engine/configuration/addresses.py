"""URLs of databases: checks that need no connection, and the parts of those of MySQL."""

from typing import Any, Literal, NamedTuple, Self
from urllib.parse import parse_qsl, unquote, urlsplit

MAX_PORT = 65_535
POSTGRES_SCHEMES = frozenset(["postgresql", "postgres"])
MYSQL_SCHEMES = frozenset(["mysql", "mariadb"])

_TLS = {"off": "off", "required": "unverified", "verify": "verified"}


def scheme_of(url: str) -> str:
    """The scheme of a URL, whatever follows it; "" if it has none."""
    return url.partition(":")[0].lower() if ":" in url else ""


def postgres_url_error(url: str) -> str | None:
    """What is wrong with a PostgreSQL URL, without any of its password; None if nothing is."""
    try:
        hosts = urlsplit(url).netloc.rpartition("@")[2].split(",")
    except ValueError:
        return "has an address in square brackets that is not an IPv6 address"
    for host in hosts:
        name, colon, port = host.rpartition(":")
        if colon and not name.count("[") > name.count("]") and not _is_port(port):
            shown = f" {port}" if port.isdecimal() else ""  # other text may be part of a password
            return f"has a port{shown} that is not a number from 1 to {MAX_PORT}"
    return None


class MySQLAddress(NamedTuple):
    """The parts of a URL `mysql://user:password@host:port/database`.

    Its query may have `socket`, the path of the server's socket; `ssl`, which is `off`, `required` or `verify`; and
    `ssl_ca`, a file with certificates, with which `verify` is meant.
    """

    connection: dict[str, Any]
    tls: Literal["off", "unverified", "verified"]
    ca_file: str | None

    @classmethod
    def parse(cls, url: str) -> Self:
        """Raises `ValueError`, with nothing of the password, for a URL that is none."""
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        socket, ca_file = options.pop("socket", None), options.pop("ssl_ca", None)
        mode = options.pop("ssl", "off" if ca_file is None else "verify")
        if options or mode not in _TLS:
            problem = (
                "may have socket, ssl (off, required or verify) and ssl_ca after its question mark, and nothing else"
            )
            raise ValueError(problem)
        connection = {
            "host": parts.hostname or "localhost",
            "port": parts.port or 3306,
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "db": unquote(parts.path.removeprefix("/")) or None,
            "unix_socket": socket,
        }
        return cls(connection, _TLS[mode], ca_file)  # type: ignore[arg-type]  # it is one of them


def database_url_error(url: str) -> str | None:
    """What is wrong with the URL of a source's database, without any of its password; None if nothing is."""
    if scheme_of(url) in POSTGRES_SCHEMES:
        return postgres_url_error(url)
    if scheme_of(url) not in MYSQL_SCHEMES:
        return "is not a URL such as postgresql://… or mysql://…"
    if (fault := postgres_url_error(url)) is not None:
        return fault
    try:
        MySQLAddress.parse(url)
    except ValueError as error:
        return str(error)
    return None


def _is_port(text: str) -> bool:
    return text == "" or (text.isascii() and text.isdecimal() and 0 < int(text) <= MAX_PORT)
