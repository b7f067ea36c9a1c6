"""The public surface: what `import pagefold` gives to programs that embed it."""

import importlib
import pkgutil
from collections.abc import Iterator

import pagefold
from pagefold.engine import errors


def every_error(base: type[BaseException]) -> Iterator[type[BaseException]]:
    """A class and all that are below it."""
    yield base
    for each in base.__subclasses__():
        yield from every_error(each)


def load_everything() -> None:
    """Imports every module of the package."""
    for module in pkgutil.walk_packages(pagefold.__path__, "pagefold."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def test_every_error_is_exported() -> None:
    """Whatever a call raises can be named in an `except`, and is in the tree that is documented."""
    load_everything()
    found = {each for each in every_error(pagefold.PagefoldError) if each.__module__.startswith("pagefold.")}
    assert len(found) > 20
    for each in found:
        assert getattr(pagefold, each.__name__) is each
        assert each.__name__ in pagefold.__all__
    assert errors.__doc__ is not None
    drawn = [line.strip("│├└─ ").split()[0] for line in errors.__doc__.splitlines() if "──" in line]
    assert sorted(drawn) == sorted(each.__name__ for each in found - {pagefold.PagefoldError})


def test_errors_stand_in_the_tree_under_what_they_inherit() -> None:
    """The documented tree is the tree of classes."""
    assert errors.__doc__ is not None
    above = [pagefold.PagefoldError]
    for line in errors.__doc__.splitlines():
        if "──" not in line:
            continue
        depth, name = line.index("──") // 4 + 1, line.strip("│├└─ ").split()[0]
        error = getattr(pagefold, name)
        del above[depth:]
        assert error.__bases__ == (above[-1],)
        above.append(error)
