"""`pagefold init`: a sample configuration, and the store."""

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import pagefold
from pagefold.engine.command.console import print_message
from pagefold.engine.command.options import Exit, Injected, Options, UsageError
from pagefold.engine.configuration.config import CONFIG_VARIABLE, DEFAULT_FILE, Config
from pagefold.engine.configuration.toml_tables import redacted
from pagefold.engine.runtime.event_loop import run

SAMPLE_URL = 'url = "sqlite:///var/shop"'


def init(
    *,
    force: Annotated[bool, Parameter(show_default=False)] = False,
    options: Injected = Options(),  # noqa: B008  # it is immutable
) -> int:
    """Write a commented pagefold.toml, and create the store.

    An existing configuration is kept; its store is created, or migrated. Safe to run again; run it after an upgrade.

    Parameters
    ----------
    force
        Replace an existing configuration.
    """
    file = Path(options.config or os.environ.get(CONFIG_VARIABLE) or DEFAULT_FILE)
    written = force or not file.exists()
    if written:
        _write(file, sample(options.store), force=force)
    print_message(f"wrote {file}: enter your sources and channels" if written else f"{file} exists, and stays as it is")
    return run(lambda: _make_store(options.load()))


def sample(url: str | None = None) -> str:
    """The sample configuration, with the store at `url`. A URL with a password is not written into a file."""
    text = (files("pagefold.engine.command") / "sample.toml").read_text(encoding="utf-8")
    if url is None or redacted(url) != url:
        return text
    Config.parse(text, store=url)
    return text.replace(SAMPLE_URL, f"url = {json.dumps(url, ensure_ascii=False)}")


def _write(file: Path, text: str, *, force: bool) -> None:
    try:
        with file.open("w" if force else "x", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise UsageError("--config", f"cannot write {file}: {error.strerror}") from error


async def _make_store(config: Config) -> int:
    async with pagefold.open(config) as shop:
        print_message(f"the store at {shop.store.name} is ready: `pagefold ingest FILE` appends, `pagefold work` folds")
    return Exit.DONE
