"""Contracts and values that mean harm, or might: bounded time, bounded memory, precise errors, the process lives."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from pagefold.projections.transforms import InvalidMapping, InvalidValue, LookupTable, text_table
from pagefold.projections.transforms.html_text import html_to_text
from pagefold.projections.transforms.tables import MAX_TABLE_ROWS
from pagefold.projections.transforms.templates import FILTERS, variables_of
from tests.support.transform_fixtures import KEY, compiler_for, made, refusal, transformed

MANY = 200_000

LIMITED = """
import resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
from pagefold.projections.transforms import InvalidMapping, InvalidValue
from tests.support.transform_fixtures import compiler_for
template, value = sys.stdin.read().split("\\x1e")
begin = time.process_time()
try:
    mapping = compiler_for().mapping({"computed": template}, "payload.x")
    result = mapping.read({"n": value * 1000, "l": [value, value], "q": 10**15})
    print("made", len(str(result)), end=" ")
except (InvalidMapping, InvalidValue) as error:
    print(type(error).__name__, str(error)[:100].replace("\\n", " "), end=" ")
print(time.process_time() - begin < 5)
"""
ROOT = Path(__file__).resolve().parents[3]

TEMPLATES = {
    "pad": "{{ '{:>2000000000}'.format(3) }}",
    "json": "{{ n|tojson(indent=2000000000) }}",
    "repeat": "{{ n * q }}",
    "loop": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "lists": "{% set a = [1] %}" + "{% set a = a + a %}" * 40 + "{{ a }}",
    "macro": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "debug": "{{ debug() }}",
    "include": "{% include '/etc/passwd' %}",
    "class": "{{ n.__class__.__mro__ }}",
    "deep": "{{ " + "(" * 900 + "n" + ")" * 900 + " }}",
    "chain": "{{ n" + "|upper" * 300 + " }}",
    "joined": "{{ n" + " ~ n" * 390 + " }}",
    "negations": "{{ " + "not " * 480 + "n }}",
    "choices": "{{ " + "n if n else " * 160 + "n }}",
    "members": "{{ n" + ".n" * 900 + " }}",
    "brackets": "{{ " + "[" * 900 + "n" + "]" * 900 + "|join }}",
    "grown": "{{ n" + "|replace('x', n)" * 3 + " }}",
    "wide": "{{ '%2000000000d'|format(q) }}",
    "long": "{{ n }}" * 100_000,
    "open": "{{ n",
    "strings": "{{ '}}{% set a = 1 %}' ~ n }}",
}  # fmt: skip


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_no_template_harms_the_process(template: str) -> None:
    """In a process with two gigabytes: a text, or an error; never a crash, and never more than seconds."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED],
        input=f"{template}\x1exxx",
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.startswith(("made ", "InvalidMapping ", "InvalidValue "))
    assert done.stdout.endswith("True\n")


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{% if a %}b{% endif %}", "has {%: templates have no statements; write {{ a if b else c }}"),
        ("{# note #}", "has {#: templates have no comments"),
        ("{{ price * 2 }}", "has '*' in an expression: numbers are compared by `when`, and computed by `sum`"),
        ("{{ price > 2 }}", "has '>' in an expression"),
        ("{{ 7 / 2 }}", "has '/' in an expression"),
        ("{{ a[1:2] }}", "has ':' in an expression"),
        ("{{ range(9) }}", "calls 'range': templates have filters, and no functions or methods"),
        ("{{ a.upper() }}", "calls 'a.upper'"),
        ("{{ a|map('upper') }}", "has the filter 'map'; there are abs, capitalize"),
        ("{{ a|  }}", "has the filter None"),
        ("{{ a b }}", "is not a template: syntax error"),
        ("x" * 2_001, "has 2001 characters; a template may have 2000"),
    ],
)
def test_what_a_template_cannot_have(template: str, problem: str) -> None:
    """Everything beyond variables, filters that are known, `~` and `if` is refused when the contract is compiled."""
    with pytest.raises(InvalidMapping) as caught:
        compiler_for().mapping({"computed": template}, KEY)
    assert str(caught.value).startswith(f"payload.x.computed.template: {problem}")


@given(
    st.lists(
        st.sampled_from(["a", "b", "x y", "é", "%", "}", " "]) | st.sampled_from(["{{ a }}", "{{b}}", "{{ c }}"]),
        max_size=6,
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.integers(-(10**18), 10**18) | st.booleans() | st.decimals(allow_nan=False, allow_infinity=False, places=3),
)
def test_a_template_of_variables_is_what_the_library_makes(parts: list[str], text: str, other: object) -> None:
    """The fast way of templates without filters gives what minijinja gives, blank variables included."""
    source = "".join(parts) or "x"
    record = {"a": text, "b": other, "c": None}
    library = made({"computed": source + "{{ '' }}"}, record)
    assert made({"computed": source}, record) == library
    through = {name: {"first_of": [name]} for name in variables_of(source, KEY)}
    assert made({"computed": {"template": source, "with": through}}, record) == library


def test_every_filter_exists() -> None:
    """Each filter that may be used is one of the library, and needs no package of its own."""
    with_parameters = {"format", "replace", "default", "d", "int", "abs", "join", "unique", "split", "reverse"}
    for name in FILTERS - with_parameters:
        made({"computed": f"{{{{ a|{name} }}}}"}, {"a": "x"})
    assert made({"computed": "{{ '%03d'|format(n) }}-{{ l|unique|join }}"}, {"n": 7, "l": ["a", "a"]}) == "007-a"


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*)*x", "([a-z]+)*[0-9]", "(a?){50}a{50}"])
def test_no_pattern_is_catastrophic(pattern: str) -> None:
    """What Python's `re` would never finish takes linear time."""
    begin = time.process_time()
    transformed("regex", "a" * 100_000 + "!", pattern)
    made({"from": "x", "check": {"pattern": f"(?:{pattern})?a*!"}}, {"x": "a" * 100_000 + "!"})
    assert time.process_time() - begin < 2


@pytest.mark.parametrize(
    "pattern", ["a{1001}", "((a{100}){100}){100}", "(", r"(a)\1", "(?<=a)b", "x" * 1_001, "\ud800"]
)
def test_patterns_that_are_too_large_are_refused(pattern: str) -> None:
    """Their memory is bounded when they are compiled, with an error that has the place."""
    with pytest.raises(InvalidMapping, match=r"payload\.x\.regex\.pattern: "):
        compiler_for().mapping({"from": "a", "regex": pattern}, KEY)


@pytest.mark.parametrize(
    "html",
    [
        "<",
        "<a ",
        "<a b='>",
        "<!--",
        "<script>",
        "<p",
        "&",
        "<a '",
        "&#",
        "<br>",
        " \n",
        "<a '>",
        "<a \"'>",
        "</",
        "<!",
        "<li>",
    ],
)
def test_html_takes_linear_time(html: str) -> None:
    """Markup that nothing ends, many times over."""
    begin = time.process_time()
    html_to_text(html * (MANY // len(html)), lines=True)
    assert time.process_time() - begin < 2


def slow_values() -> list[tuple[str, object, object]]:
    """Transforms, parameters, and values that a careless loop would take minutes for."""
    return [
        ("trim", "'", " '" * MANY + "x"),
        ("clean", None, "\u0301" * MANY),
        ("clean", None, " " * MANY + "x"),
        ("parse_pairs", None, "a=" * MANY),
        ("metric", None, "1" * MANY + " kg"),
        ("metric", None, "1," * MANY),
        ("decimal", {"decimal": ",", "group": "."}, "1.111" * MANY),
        ("date", None, "2026-01-01T00:00:00" + "0" * MANY),
        ("date", "%d.%m.%Y", "1" * MANY),
        ("gtin", {"lost_zeros": True}, "0" * MANY),
        ("replace", {"texts": {"aa": "b"}}, "a" * MANY),
        ("truncate", 5, "e" + "\u0301" * MANY),
        ("split", None, "," * MANY),
        ("text", None, 10**MANY),
        ("integer", None, 10**5_000),
        ("lookup", {"values": {"a": "b"}}, 10**5_000),
        ("gtin", None, 10**5_000),
        ("localized", None, {f"x{n}": "y" for n in range(9_000)}),
        ("unique", None, [f"x{n}" for n in range(9_999)]),
    ]


@pytest.mark.parametrize(
    ("name", "parameters", "value"),
    slow_values(),
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "",
)
def test_large_values_take_linear_time(name: str, parameters: object, value: object) -> None:
    """A value of a megabyte is made or refused in a moment, and the error stays short."""
    begin = time.process_time()
    try:
        transformed(name, value, parameters)
    except InvalidValue as error:
        assert len(str(error)) < 300  # noqa: PT017  # some are refused, some are not
    assert time.process_time() - begin < 3


@pytest.mark.parametrize(
    "spec",
    [
        {"from": "x", "check": {"format": "url"}},
        {"from": "x", "check": {"format": "email"}},
        {"from": "x", "check": {"format": "locale"}},
        {"from": "x", "check": {"format": "gtin"}},
    ],
)
@pytest.mark.parametrize(
    "text", ["a" * MANY, "http://" + "a." * MANY, "a@" + "a." * MANY, "a" * 64 + "@" * MANY, "0" * MANY]
)
def test_formats_take_linear_time(spec: dict[str, object], text: str) -> None:
    """No format backtracks."""
    begin = time.process_time()
    refusal(spec, {"x": text + " "})
    assert time.process_time() - begin < 1


MEMORY = """
import resource
from pagefold.projections.transforms import LookupTable
from tests.support.transform_fixtures import compiler_for
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
table = LookupTable("codes", ((f"code-{n:07}", f"Label {n % 1000}") for n in range(1_000_000)))
compiler = compiler_for(tables={"codes": table})
mappings = [compiler.mapping({"from": f"c{n}", "lookup": "codes"}, f"payload.c{n}") for n in range(50)]
assert all(mapping.read({f"c{n}": "code-0000123"}) == "Label 123" for n, mapping in enumerate(mappings))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_lookup_of_a_million_rows_is_shared() -> None:
    """Fifty mappings use one table: less than 200 MB, whatever their number."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 200


def test_a_table_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it, the error names the table and says what is allowed."""
    assert MAX_TABLE_ROWS == 2_000_000
    monkeypatch.setattr("pagefold.projections.transforms.tables.MAX_TABLE_ROWS", 10)
    with pytest.raises(InvalidMapping, match=r"tables\.codes: is too large; a table may have 10 rows"):
        LookupTable("codes", ((str(n), "x") for n in range(11)))
    monkeypatch.setattr("pagefold.projections.transforms.tables.MAX_TABLE_CHARACTERS", 10)
    with pytest.raises(InvalidMapping, match="is too large"):
        LookupTable("codes", [("a", "x" * 11)])


def test_ten_thousand_mappings_compile() -> None:
    """In seconds, and each finds its own value."""
    compiler = compiler_for(tables={"t": text_table("t", {"a": "b"})})
    begin = time.process_time()
    specs: list[Callable[[int], object]] = [
        lambda n: f"p{n}",
        lambda n: {"from": f"p{n}", "lookup": {"table": "t", "keep": True}},
        lambda n: {"computed": f"{{{{ p{n} }}}}"},
        lambda n: {"from": f"p{n}", "regex": {"pattern": f"v({n})"}, "default": "-"},
    ]
    mappings = [compiler.mapping(specs[n % 4](n), f"payload.p{n}") for n in range(10_000)]
    assert time.process_time() - begin < 20
    record = {f"p{n}": f"v{n}" for n in range(10_000)}
    assert [mapping.read(record) for mapping in mappings[:4]] == ["v0", "v1", "v2", "3"]
    assert mappings[-1].read(record) == "9999"


def test_a_tree_with_a_circle_ends() -> None:
    """A code below itself is refused; so is one that is too deep."""
    circle = text_table("tree", {"a": "b", "b": "c", "c": "a"})
    assert refusal({"from": "x", "ancestors": "tree"}, {"x": "a"}, tables={"tree": circle}).code == "circle"
    deep = text_table("tree", {f"n{n}": f"n{n + 1}" for n in range(1_000)})
    assert refusal({"from": "x", "ancestors": "tree"}, {"x": "n0"}, tables={"tree": deep}).code == "circle"
    assert transformed("ancestors", "n990", "tree", tables={"tree": deep}) == [f"n{n}" for n in range(1_000, 989, -1)]


def nested(levels: int) -> object:
    """A list in a list."""
    value: object = "x"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("levels", [80, 5_000])
def test_values_that_are_nested_too_deep_are_refused(levels: int) -> None:
    """Before Python's own limit, whatever is made of them."""
    value = nested(levels)
    for spec in ("x", {"from": "x", "list": {}}, {"from": "x", "unique": {}}, {"concat": ["x", "x"]}):
        assert refusal(spec, {"x": value}).code == "not_json"
    assert refusal({"computed": "{{ x|join }}"}, {"x": value}).code == "template_failed"
    for name in ("trim", "decimal", "boolean", "html_to_text", "case"):
        error = refusal({"from": "x", name: "lower" if name == "case" else {}}, {"x": value})
        assert error.code in {"wrong_type", "not_a_number", "not_a_boolean"}
    assert made("x", {"x": nested(60)}) == nested(60)


def test_nesting_is_bounded() -> None:
    """Expressions inside expressions, a thousand deep, are refused before Python's own limit."""
    spec: object = "a"
    for _ in range(1_000):
        spec = {"first_of": [spec]}
    with pytest.raises(InvalidMapping, match="is nested deeper than 48 levels"):
        compiler_for().mapping(spec, KEY)
    assert made({"from": "x", "trim": True}, {"x": None}) is UNSET
