"""Documents in TOML files: contracts and requirement sets, with the lines of their errors."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, TypeVar

from pagefold.engine.configuration.toml_lines import KeyLines
from pagefold.engine.errors import ConfigurationError
from pagefold.projections.transforms.errors import InvalidMapping

Document: TypeAlias = dict[str, object]

Made = TypeVar("Made")


def read_document(file: Path, make: Callable[[Document, str], Made]) -> Made:
    """What is made of the document in a TOML file, and of its text. Its name is that of the file unless it has another.

    Raises `ConfigurationError`, with the line, also where `make` raises `InvalidMapping`.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        return make({"name": file.stem, **tomllib.loads(text)}, text)
    except OSError as error:
        raise ConfigurationError("", f"cannot be read: {error.strerror}", str(file)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError("", f"is not TOML: {error}", str(file)) from None
    except InvalidMapping as error:
        raise placed_error(file, text, error) from None


def placed_error(file: Path, text: str, error: InvalidMapping) -> ConfigurationError:
    """The error of a place in a document, with its line."""
    line = KeyLines(text).line_of(error.key)
    return ConfigurationError(error.key, error.problem, f"{file}:{line}" if line else str(file))
