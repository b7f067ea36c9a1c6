"""Checks of PostgreSQL URLs that need no connection."""

from urllib.parse import urlsplit

MAX_PORT = 65_535
POSTGRES_SCHEMES = frozenset(["postgresql", "postgres"])


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


def _is_port(text: str) -> bool:
    return text == "" or (text.isascii() and text.isdecimal() and 0 < int(text) <= MAX_PORT)
