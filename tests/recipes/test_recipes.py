"""Every recipe is a complete configuration: it is valid, it writes where the store is, and help names it."""

import inspect
from pathlib import Path

import pytest

from pagefold.engine.command.init import SAMPLE_URL, init
from pagefold.engine.recipes.recipe_files import CONFIGURATION, recipe_files, recipe_names
from tests.support.command_line import run_pagefold

ROOT = Path(__file__).resolve().parents[2]


def made(folder: Path, system: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A shop in a folder, which is the working directory then; returns what `init` said."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PAGEFOLD_STORE", raising=False)
    ran = run_pagefold("init", "--with", system)
    assert ran.code == 0, ran.err
    return ran.err


@pytest.mark.parametrize("system", recipe_names())
def test_a_recipe_is_valid(system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pagefold check` has nothing to say once the variables are set that `init` has named."""
    said = made(tmp_path, system, monkeypatch)
    for name in said.partition("variables: ")[2].partition("\n")[0].split(", "):
        monkeypatch.setenv(name, "x" * 32)
    ran = run_pagefold("check")
    assert ran.code == 0, ran.out + ran.err


@pytest.mark.parametrize("system", recipe_names())
def test_a_recipe_is_described(system: str) -> None:
    """The store is written as `init` replaces it; the documentation and the help of `init` name the system."""
    assert SAMPLE_URL in recipe_files(system)[CONFIGURATION]
    assert f"$ pagefold init --with {system}\n" in (ROOT / "docs" / "systems" / f"{system}.md").read_text("utf-8")
    assert f"(systems/{system}.md)" in (ROOT / "docs" / "systems.md").read_text("utf-8")
    assert system in inspect.getdoc(init).partition("Parameters")[2]  # type: ignore[union-attr]  # it has one


def test_files_that_exist_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration or a contract is not replaced without `--force`, and an unknown system writes nothing."""
    system = recipe_names()[0]
    monkeypatch.chdir(tmp_path)
    ran = run_pagefold("init", "--with", f"{system}x")
    assert (ran.code, f"did you mean {system!r}?" in ran.err) == (2, True)
    assert not list(tmp_path.iterdir())
    made(tmp_path, system, monkeypatch)
    file = tmp_path / CONFIGURATION
    file.write_text(mine := file.read_text("utf-8") + "# mine\n", "utf-8")
    assert run_pagefold("init", "--with", system).code == 2
    file.unlink()
    assert run_pagefold("init", "--with", system).code == 2
    assert not file.exists()
    file.write_text(mine, "utf-8")
    assert run_pagefold("init", "--with", system, "--force").code == 0
    assert file.read_text("utf-8") == recipe_files(system)[CONFIGURATION]
