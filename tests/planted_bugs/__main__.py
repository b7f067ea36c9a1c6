"""Plants bugs in a copy of the source and runs the tests that must find them: `python -m tests.planted_bugs [NAME …]`.

Prints a line per bug. Fails if one is not found, or does not fit the source.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.planted_bugs.catalogue import ROOT, PlantedBug, planted_bugs

SECONDS_OF_A_TEST = 120
"""Seconds for one test: a bug that makes it hang is found."""

SECONDS = 900
"""Seconds for all tests of one bug."""

FOUND = 1
"""The exit code of pytest if tests failed; it is greater if they could not run, and below 0 if it died."""


def copied(place: Path) -> Path:
    """A copy of the working tree, without ignored files."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S607
    for name in listed.stdout.splitlines():
        target = place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target, follow_symlinks=False)
    return place


def is_found(bug: PlantedBug, tree: Path) -> bool:
    """Whether the tests fail with the bug in the tree, which is restored afterwards."""
    before = {file: file.read_text("utf-8") for file in bug.planted(tree)}
    _write(bug.planted(tree))
    options = ("-x", "-q", "-p", "no:cacheprovider", "-o", f"faulthandler_timeout={SECONDS_OF_A_TEST}")
    command = [sys.executable, "-m", "pytest", *options, *bug.found_by]
    try:
        ended = subprocess.run(command, cwd=tree, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return True
    finally:
        _write(before)
    if ended.returncode > FOUND:
        said = ended.stdout.decode()[-2_000:]
        sys.exit(f"{bug.name}: pytest ended with {ended.returncode}:\n{said}")
    return ended.returncode != 0


def _write(texts: Mapping[Path, str]) -> None:
    for file, text in texts.items():
        file.write_text(text, "utf-8")


def main() -> int:
    """All bugs, or the named ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these bugs")
    names = parser.parse_args().names
    bugs = [bug for bug in planted_bugs() if not names or bug.name in names]
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="pagefold-bugs-") as folder:
        tree = copied(Path(folder))
        for bug in bugs:
            started = time.monotonic()
            found = is_found(bug, tree)
            survivors += not found
            outcome = "found" if found else "NOT FOUND"
            print(f"{outcome:9}  {time.monotonic() - started:6.1f} s  {bug.name}", flush=True)  # noqa: T201
    print(f"{len(bugs)} planted, {len(bugs) - survivors} found, {survivors} not found")  # noqa: T201
    return 1 if survivors or not bugs else 0


if __name__ == "__main__":
    sys.exit(main())
