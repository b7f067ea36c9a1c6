"""The package `pagefold`: what is imported under that name, and the other modules of the host program."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("domains", "engine", "projections")
BUILT_FROM = ("pagefold", *FOLDERS, "docs", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE")

EVERY_MODULE = """
import importlib, os, pkgutil, sys
import pagefold
for module in pkgutil.walk_packages(pagefold.__path__, "pagefold."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
files = {}
for name, module in list(sys.modules.items()):
    file = getattr(module, "__file__", None)
    if file and name != "__main__":
        files.setdefault(os.path.realpath(file), []).append(name)
ours = os.path.realpath(os.path.dirname(os.path.dirname(pagefold.__file__)))
mine = {file: names for file, names in files.items() if file.startswith(ours + os.sep) and ".venv" not in file}
print(len(mine), [names for names in mine.values() if len(names) > 1])
"""

HOST = """
import asyncio, json, sys
from datetime import UTC, datetime

import domains, engine, projections  # the host's own
import pagefold

CONFIG = pagefold.Config.parse({
    "store": {"url": sys.argv[1]},
    "sources": {"pim": {"domains": ["catalog"]}},
    "channels": {"web": {"locale": "de", "currency": "EUR", "requires": ["catalog"]}},
})


async def main():
    async with pagefold.open(CONFIG) as shop:
        event = pagefold.DomainEvent(type="catalog", sku="A", channel="*", source="pim", source_version=1,
                                     occurred_at=datetime(2026, 1, 1, tzinfo=UTC), payload={"family": "shirts"})
        await shop.append([event])
        await shop.catch_up()
        page = json.loads(await shop.pages.get_json("A", "web"))
    print(engine.NAME, domains.NAME, projections.NAME, page["catalog"]["family"], pagefold.__file__)


asyncio.run(main())
"""


def run(*arguments: str, folder: Path, path: str = "", code: int = 0) -> str:
    """A program's standard output and standard error."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": path, "HOME": str(folder)}
    done = subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def copy_of_checkout(folder: Path) -> Path:
    """The files that a distribution is built from, links included."""
    folder.mkdir()
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", ".*")
            )
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def built(folder: Path, target: str) -> Path:
    """The wheel or the sdist of a checkout."""
    run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", "dist", folder=folder)
    [file] = (folder / "dist").glob("*.whl" if target == "wheel" else "*.tar.gz")
    return file


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A wheel from a checkout, and one from its sdist."""
    checkout = copy_of_checkout(tmp_path_factory.mktemp("package") / "checkout")
    with tarfile.open(built(checkout, "sdist")) as archive:
        archive.extractall(checkout.parent, filter="data")  # it is our own
    [unpacked] = [each for each in checkout.parent.iterdir() if each.name.startswith("pagefold-")]
    return [built(checkout, "wheel"), built(unpacked, "wheel")]


def test_no_module_has_two_names() -> None:
    """Every module is loaded as a part of `pagefold`, and under no other name, even if the checkout is on the path."""
    loaded, _, twice = run(sys.executable, "-c", EVERY_MODULE, folder=ROOT, path=str(ROOT)).partition(" ")
    assert int(loaded) > 150
    assert twice.strip() == "[]"


def test_a_wheel_holds_nothing_but_the_package(wheels: list[Path]) -> None:
    """No `engine` or `domains`, which another distribution may have, too; and the data files beside the modules."""
    contents = [sorted(zipfile.ZipFile(wheel).namelist()) for wheel in wheels]
    assert contents[0] == contents[1]
    tops = {name.partition("/")[0] for name in contents[0]}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"pagefold"}
    sources = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*") if "__pycache__" not in file.parts]
    expected = {f"pagefold/{file.relative_to(ROOT).as_posix()}" for file in sources if file.is_file()}
    found = {name for name in contents[0] if name.startswith("pagefold/")}
    assert found == expected | {"pagefold/__init__.py", "pagefold/py.typed"}


def test_a_host_may_have_modules_with_the_same_names(wheels: list[Path], tmp_path: Path) -> None:
    """An application with its own `engine`, `domains` and `projections` has both."""
    site, host = tmp_path / "site", tmp_path / "host"
    for wheel in wheels[1:]:
        zipfile.ZipFile(wheel).extractall(site)  # noqa: S202  # it is our own
    (host / "domains").mkdir(parents=True)
    for name in ("engine.py", "projections.py", "domains/__init__.py"):
        (host / name).write_text("NAME = 'host'\n")
    (host / "main.py").write_text(HOST)
    store = f"sqlite:///{tmp_path / 'shop'}"
    output = run(sys.executable, "-P", "main.py", store, folder=host, path=f"{host}{os.pathsep}{site}")
    assert output.split() == ["host", "host", "host", "shirts", str(site / "pagefold" / "__init__.py")]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_checkout_without_links_is_refused(tmp_path: Path, name: str) -> None:
    """If git has written the links as text files, installing fails, and says what to do."""
    checkout = copy_of_checkout(tmp_path / "checkout")
    shutil.copytree(ROOT / "scripts", checkout / "scripts")
    (checkout / "pagefold" / name).unlink()
    (checkout / "pagefold" / name).write_text(f"../{name}")
    output = run("scripts/install", folder=checkout, code=1)
    assert output.startswith(f"scripts/install: pagefold/{name} is not a link to ../{name}")
    assert "core.symlinks" in output
