"""`pagefold init`: a sample configuration, or one for a certain system, and the store."""

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import pagefold
from pagefold.engine.command.console import print_message
from pagefold.engine.command.options import Exit, Injected, Options, UsageError
from pagefold.engine.configuration.config import CONFIG_VARIABLE, DEFAULT_FILE, Config
from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.configuration.toml_tables import redacted
from pagefold.engine.recipes.recipe_files import CONFIGURATION, recipe_files, recipe_names
from pagefold.engine.runtime.event_loop import run

SAMPLE_URL = 'url = "sqlite:///var/shop"'


def init(
    *,
    system: Annotated[str | None, Parameter(name="--with")] = None,
    force: Annotated[bool, Parameter(show_default=False)] = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Write a commented pagefold.toml, and create the store.

    An existing configuration is kept; its store is created, or migrated. Safe to run again; run it after an upgrade.

    Parameters
    ----------
    system
        Write a complete configuration for a system, with its contracts: akeneo, commercetools, magento, odoo, saleor,
        shopify or woocommerce. docs/systems.md describes each.
    force
        Replace existing files.
    """
    file = Path(options.config or os.environ.get(CONFIG_VARIABLE) or DEFAULT_FILE)
    files = {CONFIGURATION: sample(options.store)} if system is None else recipe(system, options.store)
    if force or not file.exists():
        _write_all(file, files, force=force)
    elif system is not None:
        raise UsageError("--with", f"{file} exists, and stays as it is; --force replaces it")
    else:
        print_message(f"{file} exists, and stays as it is")
    return run(lambda: _make_store(options.load()))


def recipe(system: str, url: str | None = None) -> Mapping[str, str]:
    """The files for a system, with the store at `url`. Raises `UsageError` if there are none."""
    if system not in (known := recipe_names()):
        raise UsageError("--with", f"no configuration for {system!r:.60}; {suggestion(system, known, 'systems')}")
    found = dict(recipe_files(system))
    return found | {CONFIGURATION: _with_store(found[CONFIGURATION], url)}


def sample(url: str | None = None) -> str:
    """The sample configuration, with the store at `url`. A URL with a password is not written into a file."""
    return _with_store((files("pagefold.engine.command") / "sample.toml").read_text(encoding="utf-8"), url)


def _with_store(text: str, url: str | None) -> str:
    if url is None or redacted(url) != url:
        return text
    Config.parse(text, store=url)
    return text.replace(SAMPLE_URL, f"url = {json.dumps(url, ensure_ascii=False)}")


def _write_all(file: Path, contents: Mapping[str, str], *, force: bool) -> None:
    """Writes the configuration, and beside it what it names; the configuration last, so that it is never alone."""
    others = {file.parent / name: text for name, text in contents.items() if name != CONFIGURATION}
    taken = [str(path) for path in others if path.exists() and not force]
    if taken:
        raise UsageError("--with", f"{', '.join(taken)} exists, and stays as it is; --force replaces it")
    for path, text in (others | {file: contents[CONFIGURATION]}).items():
        _write(path, text, force=force)
    what = "addresses" if others else "sources"
    print_message(f"wrote {', '.join(map(str, [file, *others]))}: enter your {what} and channels")
    if others and (variables := sorted(set(_variables(tomllib.loads(contents[CONFIGURATION]))))):
        print_message(f"set these environment variables: {', '.join(variables)}")


def _variables(value: object, name: str = "") -> Iterator[str]:
    """The environment variables that a configuration names, in any of its tables."""
    names_some = name.endswith(("_variable", "_variables"))
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _variables(inner, name if names_some else key)
    elif isinstance(value, list):
        for inner in value:
            yield from _variables(inner, name)
    elif isinstance(value, str) and names_some:
        yield value


def _write(file: Path, text: str, *, force: bool) -> None:
    try:
        file.parent.mkdir(exist_ok=True)
        with file.open("w" if force else "x", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise UsageError("--config", f"cannot write {file}: {error.strerror}") from error


async def _make_store(config: Config) -> int:
    async with pagefold.open(config) as shop:
        await shop.audit.record("init")
        print_message(f"the store at {shop.store.name} is ready: `pagefold ingest FILE` appends, `pagefold work` folds")
    return Exit.DONE
