"""The folder of data to run against, which is no part of the project."""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("PAGEFOLD_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


def data_file(*parts: str) -> Path:
    """A file of that folder; the test that asks for it is skipped where it is not there."""
    file = FOLDER.joinpath(*parts)
    if not file.exists():
        pytest.skip(f"no {file}: PAGEFOLD_DATA names the folder of the data")
    return file
