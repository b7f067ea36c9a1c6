"""A shop's own transforms: packages declare them as entry points of the group `pagefold.transforms`.

An entry point names a `Transform`, under the name that contracts use. One that cannot be loaded, or that does not pass
the check of purity, is refused by name where a contract uses it; the others work.
"""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from pagefold.engine.plugins.purity import impurity
from pagefold.projections.transforms import BUILTIN_REGISTRY, AnyTransform, InvalidMapping, Registry, Transform

GROUP = "pagefold.transforms"


def load_registry(found: Iterable[EntryPoint] | None = None) -> Registry:
    """The built-in transforms, and those of installed packages; those of the given entry points, if any are."""
    transforms: dict[str, AnyTransform] = {}
    refused: dict[str, str] = {}
    for entry_point in sorted(entry_points(group=GROUP) if found is None else found, key=_order):
        loaded = _load(entry_point, taken={*transforms, *refused})
        if isinstance(loaded, str):
            transforms.pop(entry_point.name, None)
            refused[entry_point.name] = f"{entry_point.value} of {_package(entry_point)}: {loaded}"
        else:
            transforms[entry_point.name] = loaded
    refused = {name: reason for name, reason in refused.items() if name not in BUILTIN_REGISTRY}
    return BUILTIN_REGISTRY.extended(transforms.values(), refused)


def _order(entry_point: EntryPoint) -> tuple[str, str]:
    return entry_point.name, entry_point.value


def _package(entry_point: EntryPoint) -> str:
    distribution = entry_point.dist
    return distribution.name if distribution is not None else "an unknown package"


def _load(entry_point: EntryPoint, taken: set[str]) -> AnyTransform | str:
    """The transform of an entry point, or why it is refused."""
    if entry_point.name in BUILTIN_REGISTRY:
        return "Pagefold has a transform with this name"
    if entry_point.name in taken:
        return "two packages have a transform with this name"
    try:
        transform = entry_point.load()
    except Exception as error:  # noqa: BLE001  # whatever a package raises when it is imported
        return f"it cannot be imported: {type(error).__name__}: {error!s:.200}"
    return _checked(transform, entry_point)


def _checked(transform: object, entry_point: EntryPoint) -> AnyTransform | str:
    if not isinstance(transform, Transform):
        return f"it is a {type(transform).__name__}, and not a `Transform`"
    if transform.name != entry_point.name:
        return f"its own name is {transform.name!r:.40}"
    try:
        return impurity(transform) or transform
    except InvalidMapping as error:  # its name is one that no transform can have
        return error.problem
