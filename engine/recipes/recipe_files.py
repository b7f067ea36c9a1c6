"""The files of each recipe: `pagefold.toml`, and the contracts that it names."""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable

CONFIGURATION = "pagefold.toml"


def recipe_names() -> list[str]:
    """The systems that have a recipe, in order."""
    return sorted(each.name for each in files("pagefold.engine.recipes").iterdir() if _is_recipe(each))


def recipe_files(name: str) -> Mapping[str, str]:
    """The files of a recipe, by their path in the folder of the shop. Raises `KeyError` if there is no such recipe."""
    folder = files("pagefold.engine.recipes") / name
    if name not in recipe_names():
        raise KeyError(name)
    return dict(sorted(_files_in(folder)))


def _is_recipe(folder: Traversable) -> bool:
    return folder.is_dir() and (folder / CONFIGURATION).is_file()


def _files_in(folder: Traversable, before: str = "") -> Iterator[tuple[str, str]]:
    for each in folder.iterdir():
        if each.is_dir():
            yield from _files_in(each, f"{before}{each.name}/")
        else:
            yield before + each.name, each.read_text(encoding="utf-8")
