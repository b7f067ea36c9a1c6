"""The rules of style that a program can check: lengths, comments, words, SQL, and the tools' settings."""

import ast
import io
import re
import subprocess
import tokenize
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE = ("domains", "projections")
PACKAGES = (*CORE, "engine")
CODE = (*PACKAGES, "tests", "benchmarks")
TEXT_SUFFIXES = ("", ".conf", ".md", ".py", ".service", ".sql", ".timer", ".toml", ".typed", ".yaml", ".yml")
TOP = {
    *(".ci", ".gitattributes", ".gitignore", "CHANGELOG.md", "LICENSE", "README.md"),
    *("pyproject.toml", "requirements.lock", *CODE, "deploy", "docs", "pagefold", "scripts"),
}
MAX_FUNCTION_LINES = 60
MAX_MODULE_LINES = 500

STORES = ("sqlite", "postgres")
STATEMENT_HEADER = re.compile(r"^-- ([a-z][a-z0-9_]*) --$")
SQL_START = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|WITH|COPY|MERGE)\s")
CLOCKS = {"now", "utcnow", "today", "fromtimestamp"}

TYPE_IGNORE = re.compile(r"#\s*type:\s*ignore(?!\[[a-z-]+(, ?[a-z-]+)*\]\s+# \w)")
NOQA = re.compile(r"#\s*((ruff|flake8):\s*)?noqa(?!: [A-Z]+[0-9]+)", re.IGNORECASE)
UNFINISHED = re.compile(r"\b(TO[D]O|FIX[M]E|X[X]X)\b")


def relative(path: Path) -> str:
    """The path from the top of the repository."""
    return path.relative_to(ROOT).as_posix()


def test_the_top_of_the_tree_has_nothing_else() -> None:
    """What a trial leaves there is not committed."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607  # the one of the checkout
    if listed.returncode:
        pytest.skip("not a checkout")
    assert {line.partition("/")[0] for line in listed.stdout.splitlines()} <= TOP


def python_files(*folders: str) -> list[Path]:
    """Every module in these folders. Fails for a folder without one."""
    present = [ROOT / folder for folder in folders if (ROOT / folder).is_dir()]
    files = [path for folder in present for path in sorted(folder.rglob("*.py"))]
    empty = [folder for folder in present if not any(path.is_relative_to(folder) for path in files)]
    assert not empty, f"no modules in {empty}"
    return files


def text_files() -> list[Path]:
    """Every file that people write: no caches, and nothing of git."""
    folders = [ROOT / name for name in (*CODE, "deploy", "docs", "scripts", ".ci") if (ROOT / name).is_dir()]
    nested = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    top = [path for path in ROOT.iterdir() if path.suffix in (".md", ".toml")]
    return [path for path in sorted(nested + top) if path.suffix in TEXT_SUFFIXES]


@cache
def tree_of(path: Path) -> ast.Module:
    """The module, parsed."""
    return ast.parse(path.read_text("utf-8"), relative(path))


def nodes(*folders: str) -> Iterator[tuple[str, ast.AST]]:
    """Every node of the modules in these folders, with its file and line."""
    for path in python_files(*folders):
        name = relative(path)
        for node in ast.walk(tree_of(path)):
            yield f"{name}:{getattr(node, 'lineno', 0)}", node


@cache
def comments(path: Path) -> list[tuple[str, str]]:
    """Every comment of the module, with its file and line."""
    readline = io.StringIO(path.read_text("utf-8")).readline
    return [
        (f"{relative(path)}:{token.start[0]}", token.string)
        for token in tokenize.generate_tokens(readline)
        if token.type == tokenize.COMMENT
    ]


def statement_files(store: str) -> dict[str, Path]:
    """A store's files of SQL statements, by name. Fails if it has none."""
    files = (ROOT / "engine" / "stores" / store / "statements").glob("*.sql")
    found = {path.name: path for path in sorted(files)}
    assert bool(found) == (ROOT / "engine" / "stores").is_dir()
    return found


def statements(path: Path) -> dict[str, list[str]]:
    """The lines of each statement of a file, by name; those above the first are under ""."""
    found: dict[str, list[str]] = {"": []}
    name = ""
    for line in path.read_text("utf-8").splitlines():
        header = STATEMENT_HEADER.match(line)
        if header:
            name = header[1]
            assert name not in found, f"{relative(path)} has two statements named {name}"
            found[name] = []
        else:
            found[name].append(line)
    return found


def sentence_of(lines: list[str]) -> str:
    """The comment at the beginning of a statement."""
    words = []
    for line in lines:
        if not line.startswith("-- "):
            break
        words.append(line.removeprefix("-- ").strip())
    return " ".join(words)


# --- Python ---------------------------------------------------------------------------------------


def test_functions_are_short() -> None:
    """A function fits on a screen, with its decorators and docstring."""
    for place, node in nodes(*CODE):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            length = (node.end_lineno or first) - first + 1
            assert length <= MAX_FUNCTION_LINES, f"{place} {node.name} has {length} lines"


def test_modules_are_short() -> None:
    """A module can be read in one sitting."""
    for path in python_files(*CODE):
        length = len(path.read_text("utf-8").splitlines())
        assert length < MAX_MODULE_LINES, f"{relative(path)} has {length} lines"


def test_type_ignores_say_what_and_why() -> None:
    """A type-ignore comment has a code and a reason: `[code]  # reason`."""
    for path in python_files(*CODE):
        for place, comment in comments(path):
            assert not TYPE_IGNORE.search(comment), f"{place} {comment}"


def test_lint_exceptions_say_what() -> None:
    """A lint exception has a code."""
    for path in python_files(*CODE):
        for place, comment in comments(path):
            assert not NOQA.search(comment), f"{place} {comment}"


def test_every_test_has_a_sentence() -> None:
    """A test's docstring begins with a sentence: what holds if the test passes."""
    for place, node in nodes("tests"):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("test_"):
            docstring = (ast.get_docstring(node) or "").partition("\n\n")[0]
            assert docstring.endswith((".", "?", "!")), f"{place} {node.name}"


def test_only_the_command_line_prints() -> None:
    """Only the command line prints; everything else returns results and logs events."""
    for place, node in nodes(*PACKAGES):
        if place.startswith(("engine/command/", "engine/command.py")):
            continue
        is_print = isinstance(node, ast.Name) and node.id == "print"
        assert not is_print, f"{place} prints"


def test_the_core_reads_no_clock() -> None:
    """`domains` and `projections` use the types of datetime, and never the current time."""
    for place, node in nodes(*CORE):
        reads = isinstance(node, ast.Attribute) and node.attr in CLOCKS
        assert not reads, f"{place} reads a clock"


def test_packages_are_typed() -> None:
    """The package has a `py.typed`, so that its types are used."""
    assert (ROOT / "pagefold" / "py.typed").is_file()


def test_nothing_is_left_unfinished() -> None:
    """The tree has no notes of unfinished work."""
    files = text_files()
    assert Path(__file__).resolve() in files
    for path in files:
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            assert not UNFINISHED.search(line), f"{relative(path)}:{number} {line.strip()}"


GIVEN_UP = (
    *("Door", "BulkDoor", "Misfit", "Looker", "Refolder", "Refolded", "Errand", "Wish", "Usher", "Evening", "Ears"),
    *("DeadLetterOffice", "RebuildOffice", "TokenOffice", "LetterPage", "LetterResolved", "UnknownLetter", "AtOnce"),
    *("at_once", "history_page", "office", "door", "evening", "spoilt", "mend", "mends", "mended", "swallowed"),
    *("hear", "hears", "heard", "hearing", "speak", "speaks", "spoke", "spoken", "told", "whoever", "unasked"),
    *("let in", "lets in", "whose word", "goes on", "gone on", "in a stroke", "nobody in"),
)
"""Words that the code once used in place of the field's terms."""

MIGRATIONS = "migrations"
"""The folder of files that must not change once they are released."""


def test_no_given_up_word_comes_back() -> None:
    """Code and documentation use the terms of docs/architecture.md, and no metaphors."""
    pattern = re.compile(rf"\b_?({'|'.join(GIVEN_UP)})\b")
    folders = (*PACKAGES, "pagefold", "docs")
    files = [path for path in text_files() if relative(path).split("/")[0] in folders or path.suffix == ".md"]
    assert len(files) > 200
    for path in files:
        if MIGRATIONS not in path.parts:
            for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
                assert not pattern.search(line.replace("head office", "")), f"{relative(path)}:{number} {line.strip()}"


# --- SQL ------------------------------------------------------------------------------------------


def is_sql(node: ast.AST) -> bool:
    """Whether an expression is a string that starts like a statement."""
    if isinstance(node, ast.JoinedStr) and node.values:
        return is_sql(node.values[0])
    if isinstance(node, ast.BinOp):
        return is_sql(node.left)
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL_START.match(node.value) is not None


def builds_sql(node: ast.AST) -> bool:
    """Whether an expression builds a statement from parts at run time."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr == "format" and is_sql(node.func.value)
    if isinstance(node, ast.JoinedStr):
        return is_sql(node) and any(isinstance(part, ast.FormattedValue) for part in node.values)
    return isinstance(node, ast.BinOp) and is_sql(node.left)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('f"SELECT {column} FROM pages"', True),
        ('"DELETE FROM " + table', True),
        ('"UPDATE %s SET" % table', True),
        ('"""\n  INSERT INTO {} VALUES (1)""".format(table)', True),
        ('f"page of {sku}"', False),
        ('"SELECT 1"', False),
    ],
)
def test_built_sql_is_recognised(expression: str, *, expected: bool) -> None:
    """The check of built SQL sees every way to join strings."""
    tree = ast.parse(expression, mode="eval")
    assert any(builds_sql(node) for node in ast.walk(tree)) is expected


def test_no_sql_is_built() -> None:
    """Statements come from .sql files; only parameters vary."""
    for place, node in nodes("engine"):
        assert not builds_sql(node), f"{place} builds SQL; put it into a .sql file"


@pytest.mark.parametrize("store", STORES)
def test_every_statement_has_a_sentence(store: str) -> None:
    """Below its name, a statement has a sentence that says what it does, and SQL."""
    for path in statement_files(store).values():
        by_name = statements(path)
        above = by_name.pop("")
        assert by_name, f"{relative(path)} has no statement"
        stray = [line for line in above if line.strip() and not line.startswith("--")]
        assert not stray, f"{relative(path)} has SQL without a name: {stray[0]}"
        for name, lines in by_name.items():
            place = f"{relative(path)} {name}"
            assert re.fullmatch(r"[A-Z`].*\.", sentence_of(lines)), f"{place} has no sentence"
            code = [line for line in lines if line.strip() and not line.startswith("--")]
            assert code, f"{place} has no SQL"


def test_stores_have_the_same_statements() -> None:
    """Both stores have the same files, with the same statements in the same order."""
    sqlite, postgres = (
        {name: list(statements(path)) for name, path in statement_files(store).items()} for store in STORES
    )
    assert sqlite == postgres


@pytest.mark.parametrize("store", STORES)
def test_statement_names_are_unique(store: str) -> None:
    """A statement's name is unique in its store."""
    files = statement_files(store).values()
    names = [name for path in files for name in statements(path) if name]
    assert sorted(names) == sorted(set(names))


# --- the tools' settings --------------------------------------------------------------------------


def test_every_ignored_lint_rule_has_a_reason() -> None:
    """In pyproject.toml, each ignored rule is on a line of its own, with a reason."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    lint = tomllib.loads(text)["tool"]["ruff"]["lint"]
    ignored = [
        *lint["ignore"],
        *(code for codes in lint["per-file-ignores"].values() for code in codes),
    ]
    reasoned = re.findall(r'^    "([A-Z]+[0-9]*)", +# \S.+$', text, re.MULTILINE)
    assert reasoned == ignored
    assert not {"extend-ignore", "extend-per-file-ignores"} & lint.keys()


def requirement_names(requirements: list[str]) -> set[str]:
    """The normalised names in a list of requirements."""
    names = (re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0] for requirement in requirements)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names}


def test_the_lock_has_hashes_and_every_package() -> None:
    """Each package of the lock is pinned and hashed; every package of pyproject.toml is there, but the peers.

    What benchmarks compare with is large and under other licences: only who asks for it installs it.
    """
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    logical = re.sub(r"\\\n", " ", re.sub(r"^ *#.*\n|^\n", "", lock, flags=re.MULTILINE)).splitlines()
    pinned = {line.split("==")[0] for line in logical}
    for line in logical:
        assert re.match(r"[a-z0-9-]+==\S+ .*--hash=sha256:[0-9a-f]{64}\b", line), line
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    peers = project["optional-dependencies"].pop("benchmarks-peers")
    wanted = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    assert requirement_names(wanted) - {"pagefold"} <= pinned  # its extras include one another
    assert not requirement_names(peers) & pinned


def test_the_lock_keeps_every_marker() -> None:
    """A package of some platforms has its marker in the lock: pip-compile drops markers of nested extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    names = requirement_names([each for each in wanted if ";" in each])
    assert len(names) >= 2
    for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines():
        if line.partition("==")[0] in names:
            assert " ; " in line, f"{line} has no marker: copy it from pyproject.toml"


def test_the_lock_names_no_index() -> None:
    """The lock says what to install, and not from where."""
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    for trace in ("://", "--index", "--extra-index", "--find-links", "--trusted-host", "@ ", " /"):
        assert trace not in lock
