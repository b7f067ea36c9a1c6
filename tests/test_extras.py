"""What `pip install pagefold` installs, what the extras add, and the error if one is missing."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pagefold.engine.runtime.extras import EXTRA_OF
from tests.docs.sizes import EXTRAS, brought, table
from tests.support.documents import ROOT

IMPORTED_AS = {"google_re2": "re2", "markdown_it_py": "markdown_it", "nats_py": "nats", "pyjwt": "jwt"}
"""Packages with another name than their module."""

BLOCKED = """
import sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {modules!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
"""
PROGRAM = """
import asyncio, sys
from datetime import UTC, datetime
import pagefold
import pagefold.engine.stores.postgres

CONFIG = pagefold.Config.parse({
    "store": {"url": sys.argv[1]},
    "sources": {"erp": {"domains": ["pricing"]}},
    "channels": {"web": {"locale": "de", "currency": "EUR", "requires": ["pricing"]}},
})


async def main():
    async with pagefold.open(CONFIG, work=True) as shop:
        event = pagefold.DomainEvent(type="pricing", sku="A", channel="*", source="erp", source_version=1,
                                     occurred_at=datetime.now(UTC), payload={"currency": "EUR", "amount": "1.00"})
        print([each.outcome for each in await shop.append([event])])
        await shop.catch_up()
        print((await shop.pages.get("A", "web"))["pricing"]["amount"], (await shop.health()).ok)
        for use in (shop.rebuilds, pagefold.asgi(CONFIG).lifespan):
            try:
                async with use():
                    print("it is there")
            except pagefold.ExtraMissing as missing:
                print(missing)


asyncio.run(main())
print(sorted({name.partition(".")[0] for name in sys.modules}))
"""


def ran(program: str, *arguments: str, code: int = 0) -> str:
    """A program's standard output and standard error."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def modules_of(*extras: str) -> set[str]:
    """The modules of these extras, without those that the others bring, too."""
    also = set() if "cli" in extras else {"markdown_it"}  # rich needs it
    return {module for module, extra in EXTRA_OF.items() if extra in extras} - also


def blocked(*extras: str) -> str:
    """The beginning of a program in which these extras are not installed."""
    return BLOCKED.format(modules=modules_of(*extras))


def test_the_base_imports_nothing_of_the_extras(tmp_path: Path) -> None:
    """Appending, working and reading load no module of an extra; whatever needs one names it in its error."""
    store = f"sqlite:///{tmp_path / 'shop'}"
    said = ran(blocked("cli", "server", "rebuild", "eventsourcing", "contracts") + PROGRAM, store).splitlines()
    assert said[:2] == ["['appended']", "1.00 True"]
    assert re.fullmatch(r"Shop\.rebuilds needs .*: pip install 'pagefold\[rebuild\]'", said[2])
    assert re.fullmatch(r"pagefold\.asgi needs .*: pip install 'pagefold\[server\]'", said[3])
    loaded = ran(PROGRAM.partition("        for use in")[0] + PROGRAM[PROGRAM.index("\n\nasyncio.run") :], store)
    for module in EXTRA_OF.keys() - {"rich"}:  # structlog loads that one where it is
        assert f"'{module}'" not in loaded, module
    assert "'pagefold'" in loaded


def test_the_command_says_what_to_install() -> None:
    """One sentence, and the exit code of bad usage; without the server, all commands but `serve` are there."""
    main = "sys.argv[0] = 'pagefold'\nfrom pagefold.engine.command import main\nmain()\n"
    said = ran(blocked("cli") + main, "status", code=2)
    assert re.fullmatch(r"pagefold: the command pagefold needs .*: pip install 'pagefold\[cli\]'\n", said)
    assert "pagefold ingest" in ran(blocked("server") + main, "--help")
    assert "--work" not in (said := ran(blocked("server") + main, "serve", code=2))
    assert re.fullmatch(r"pagefold: this command needs .*: pip install 'pagefold\[server\]'\n", said)


CONTRACTS = """
from pagefold.engine.runtime.extras import missing_extra
from pagefold.projections.transforms import BUILTIN_REGISTRY, Compiler, NestedScope

compiler = Compiler(BUILTIN_REGISTRY, NestedScope())
print(compiler.mapping({"from": "a", "date": True}, "k").read({"a": "2026-01-01T00:00:00Z"}))
for spec in ({"from": "a", "money": "EUR"}, {"from": "a", "money": {"currency": {"from": "b"}}},
             {"from": "a", "regex": "a"}, {"computed": "{{ a }}"}, {"from": "a", "check": {"pattern": "a"}}):
    try:
        compiler.mapping(spec, "k")
    except ModuleNotFoundError as error:
        print(missing_extra(error, "the contract pim"))
"""


def test_transforms_say_what_to_install() -> None:
    """Those that need no package work without the extra; the others are missed when a contract is compiled."""
    output = ran(blocked("contracts") + CONTRACTS).splitlines()
    assert output[0] == "2026-01-01T00:00:00Z"
    assert len(output) == 6
    for line in output[1:]:
        assert re.fullmatch(r"the contract pim needs .*: pip install 'pagefold\[contracts\]'", line)


def test_every_package_of_an_extra_is_known() -> None:
    """A missing package is traced to its extra in pyproject.toml."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    named = {
        IMPORTED_AS.get(name := re.split(r"[><=;\[. ]", each)[0].replace("-", "_"), name): extra
        for extra in set(EXTRA_OF.values())
        for each in extras[extra]
        if not each.startswith("pagefold")
    }
    assert named == EXTRA_OF


@pytest.mark.parametrize("extra", EXTRAS)
def test_contributors_have_every_extra(extra: str) -> None:
    """The lock has every package of each extra."""
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    locked = set(re.findall(r"^([a-z0-9._-]+)==", lock, re.MULTILINE))
    assert brought(extra) <= {name.replace("_", "-").replace(".", "-") for name in locked}


def test_the_page_has_the_sizes() -> None:
    """docs/embedding.md names the packages of each extra, with sizes that are about right."""
    page = (ROOT / "docs" / "embedding.md").read_text("utf-8")
    for line in table().splitlines()[2:]:
        install, packages, size, which = [cell.strip() for cell in line.strip("|").split("|")]
        written = re.search(rf"^\| {re.escape(install)} \| (\d+) \| (\d+) \| ([^|]*) \|$", page, re.MULTILINE)
        assert written is not None, install
        assert (written[1], written[3]) == (packages, which)
        assert abs(int(written[2]) - int(size)) <= max(3, int(size) // 4)
