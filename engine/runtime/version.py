"""The version of this program."""

from importlib import metadata

UNKNOWN = "0"
"""In a copy that is not installed."""


def version() -> str:
    """The version of the installed package."""
    try:
        return metadata.version("pagefold")
    except metadata.PackageNotFoundError:
        return UNKNOWN
