"""A shop's own transforms: found by entry point, checked for purity, refused by name where they do not pass."""

import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from pagefold.engine.plugins import purity
from pagefold.engine.plugins.purity import impurity
from pagefold.engine.plugins.transform_plugins import GROUP, load_registry
from pagefold.projections.transforms import (
    BUILTIN_REGISTRY,
    AnyTransform,
    Compiler,
    InvalidMapping,
    NestedScope,
    Registry,
)
from pagefold.projections.transforms.builtin import BUILTIN

MODULE = '''
"""A shop's transforms."""

import os
import random
import time
from datetime import date, datetime

import msgspec

from pagefold.projections.transforms import Example, InvalidValue, NoParameters, Transform, ValueType

count = 0


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `shout`."""

    marks: int = 1


def made(name, function, output=ValueType.TEXT, **more):
    """A transform of text."""
    return Transform(**{
        "name": name, "summary": "A transform of a shop.", "inputs": (ValueType.TEXT,), "output": output,
        "parameters": NoParameters, "build": lambda _parameters, _site: function,
        "refusals": {"no_text": "the value is not text"}, "examples": (Example({}, "a", "A!"),), **more,
    })


def shouted(value):
    """The text in capitals."""
    if type(value) is not str:
        raise InvalidValue("no_text", value, "is not text")
    return value.upper() + "!"


def counting(value):
    global count
    count += 1
    return shouted(value) if count % 7 else "?"


def hiding(value):
    try:
        time.time()
    except Exception:
        pass
    return shouted(value)


def changing(value):
    if type(value) is list and value:
        value.pop()
    return shouted(value)


def checked(call):
    """A transform of text that calls something before."""
    def function(value):
        made = shouted(value)
        call()
        return made
    return function


def printed():
    print("a")


shout = made("shout", shouted)
louder = made("louder", shouted, parameters=Parameters, main="marks", build=lambda parameters, _site: (
    lambda value: shouted(value)[:-1] + "!" * parameters.marks))
parse = made("parse", lambda value: datetime.strptime(shouted(value)[:-1], "%d.%m.%Y").date().isoformat()
             if type(value) is str and len(value) == 10 and value[2:3] == "." else shouted(value),
             examples=(Example({}, "31.01.2026", "2026-01-31"),))
clock = made("clock", checked(time.time))
today = made("today", checked(date.today))
now = made("now", checked(datetime.now))
dice = made("dice", checked(random.random))
seeded = made("seeded", checked(random.Random(7).random))
files = made("files", checked(lambda: open("/dev/null").close()))
listing = made("listing", checked(lambda: os.listdir("/")))
environment = made("environment", checked(lambda: os.environ.get("HOME")))
output = made("output", checked(printed))
hidden = made("hidden", hiding)
counter = made("counter", counting)
changer = made("changer", changing, inputs=(ValueType.ANYTHING,))
liar = made("liar", lambda value: 5)
wrong = made("wrong", shouted, examples=(Example({}, "a", "B!"),))
raising = made("raising", lambda value: value.upper() + "!")
undeclared = made("undeclared", shouted, refusals={})
unshown = made("unshown", shouted, examples=())
endless = made("endless", lambda value: endless.build(None, None)(value))
renamed = made("other", shouted)
trim = made("trim", shouted)
steps = made("steps", shouted)
nothing = 5
'''
METADATA = "Metadata-Version: 2.1\nName: shop-transforms\nVersion: 1\n"

REFUSED = {
    "clock": "it is not pure: it calls time.time",
    "today": "it is not pure: it calls date.today",
    "now": "it is not pure: it calls datetime.now",
    "dice": "it is not pure: it calls random.random",
    "seeded": "it is not pure: it calls random.random",
    "files": "it is not pure: it calls open",
    "listing": "it is not pure: it calls posix.listdir",
    "environment": "it is not pure: it calls os.environ",
    "output": "it is not pure: it calls print",
    "hidden": "it is not pure: it calls time.time",
    "counter": "it gives ",
    "changer": "it changes the record that it reads",
    "liar": "it declares text, and gives 5",
    "wrong": "its example gives 'A!', and not 'B!'",
    "raising": "it raises AttributeError for",
    "undeclared": "it refuses with 'no_text', which it does not declare",
    "unshown": "it has no example with a result",
    "endless": "it calls itself without end",
    "renamed": "its own name is 'other'",
    "nothing": "it is a int, and not a `Transform`",
    "missing": "it cannot be imported: AttributeError",
    "absent": "it cannot be imported: ModuleNotFoundError",
}


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The registry of a program in which a package with transforms is installed."""
    (tmp_path / "shop_transforms.py").write_text(MODULE)
    names = ["shout", "louder", "parse", "trim", "steps", *REFUSED]
    modules = {"absent": "shop_absent"}
    lines = [f"{name} = {modules.get(name, 'shop_transforms')}:{name}" for name in names]
    information = tmp_path / "shop_transforms-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(METADATA)
    (information / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines]))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "shop_transforms", raising=False)
    return load_registry()


def made(registry: Registry, spec: dict[str, object], value: object) -> object:
    """What a mapping makes of a value."""
    return Compiler(registry, NestedScope()).mapping({"from": "x", **spec}, "payload.x").read({"x": value})


def test_transforms_of_a_shop_are_used_like_any(registry: Registry) -> None:
    """They have parameters, steps and types; those that Pagefold has stay Pagefold's."""
    assert made(registry, {"shout": True}, "tee") == "TEE!"
    assert made(registry, {"steps": ["trim", {"louder": 3}]}, " tee ") == "TEE!!!"
    assert made(registry, {"parse": True}, "28.02.2026") == "2026-02-28"
    assert made(registry, {"trim": True}, " tee ") == "tee"
    with pytest.raises(InvalidMapping, match="expected `int`, got `str`"):
        made(registry, {"louder": "x"}, "tee")


@pytest.mark.parametrize(("name", "reason"), REFUSED.items(), ids=REFUSED)
def test_a_transform_that_is_not_pure_is_refused(registry: Registry, name: str, reason: str) -> None:
    """Where a contract uses it, the error names it, its package and the reason; without it, the contract works."""
    with pytest.raises(InvalidMapping) as caught:
        made(registry, {name: True}, "tee")
    prefix = f"payload.x: the transform {name!r} cannot be used: "
    assert str(caught.value).startswith(prefix)
    assert f"of shop-transforms: {reason}" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_two_packages_with_one_name_are_both_refused(registry: Registry) -> None:
    """Which of them counts must not depend on the order in which they are found."""
    found = [*entry_points(group=GROUP, name="shout")] * 2
    with pytest.raises(InvalidMapping, match="two packages have a transform with this name"):
        made(load_registry(found), {"shout": True}, "tee")


def test_without_packages_the_registry_is_the_built_in_one() -> None:
    """Nothing is added where nothing is installed."""
    assert [each.name for each in load_registry([])] == [each.name for each in BUILTIN_REGISTRY]


@pytest.mark.parametrize("transform", [each for each in BUILTIN if each.examples], ids=lambda transform: transform.name)
def test_the_built_in_transforms_pass_the_same_check(transform: AnyTransform, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of a shop's transforms holds for Pagefold's."""
    monkeypatch.setattr(purity, "BUILTIN_REGISTRY", Registry(each for each in BUILTIN if each is not transform))
    assert impurity(transform) is None
    assert sys.getprofile() is None
