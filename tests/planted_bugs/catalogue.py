"""The planted bugs, as `bugs.toml` beside this file has them."""

from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]


class PlantedBug(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One replacement. `old` occurs exactly once in each of the files; one of the tests in `found_by` must fail."""

    name: str
    files: list[str]
    old: str
    new: str
    found_by: list[str]

    def planted(self, tree: Path) -> dict[Path, str]:
        """The texts of a tree's files with the bug. Raises `ValueError` if it does not fit."""
        return {tree / name: self._planted(name, (tree / name).read_text("utf-8")) for name in self.files}

    def _planted(self, name: str, text: str) -> str:
        if (found := text.count(self.old)) != 1:
            problem = f"{self.name}: its text occurs {found} times in {name}, not once"
            raise ValueError(problem)
        return text.replace(self.old, self.new)


class _Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bug: list[PlantedBug]


def planted_bugs() -> list[PlantedBug]:
    """All of them, in the order of the file."""
    return msgspec.toml.decode((ROOT / "tests/planted_bugs/bugs.toml").read_bytes(), type=_Catalogue).bug
