"""The folder of test data, which is not part of the project."""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("PAGEFOLD_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


def data_file(*parts: str) -> Path:
    """A file of that folder; the test is skipped if it is missing."""
    file = FOLDER.joinpath(*parts)
    if not file.exists():
        pytest.skip(f"no {file}: PAGEFOLD_DATA names the folder of the data")
    return file
