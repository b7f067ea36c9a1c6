"""The registry: every transform that contracts may name."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

from pagefold.projections.transforms.errors import InvalidMapping
from pagefold.projections.transforms.transform import AnyTransform

RESERVED = frozenset({"from", "steps", "default", "required", "blank", "check"})
"""The other keys of a mapping: no transform has such a name."""


class Registry:
    """Transforms by name. It never changes: `extended` makes another."""

    def __init__(self, transforms: Iterable[AnyTransform], refused: Mapping[str, str] | None = None) -> None:
        """`refused` are transforms that must not be used, with the reason.

        Raises `InvalidMapping` for two transforms with one name, and for a name that a mapping has itself.
        """
        self._refused = refused or {}
        self._transforms: dict[str, AnyTransform] = {}
        for transform in transforms:
            if transform.name in self._transforms:
                raise InvalidMapping(f"transforms.{transform.name}", "there are two transforms with this name")
            if transform.name in RESERVED or not transform.name.isidentifier() or not transform.name.islower():
                raise InvalidMapping(f"transforms.{transform.name}", "is not a name that a transform can have")
            self._transforms[transform.name] = transform

    def __contains__(self, name: object) -> bool:
        return name in self._transforms

    def __iter__(self) -> Iterator[AnyTransform]:
        return iter(self._transforms.values())

    def find(self, name: str, key: str) -> AnyTransform:
        """A transform. Raises `InvalidMapping`, with similar names, if there is none, or if it is refused."""
        if name in self._refused:
            raise InvalidMapping(key, f"the transform {name!r} cannot be used: {self._refused[name]}")
        transform = self._transforms.get(name)
        if transform is None:
            raise InvalidMapping(key, f"there is no transform {name!r:.40}{self._suggestion(name)}")
        return transform

    def _suggestion(self, name: str) -> str:
        similar = get_close_matches(name[:40], self._transforms, n=2)
        if similar:
            return f"; did you mean {' or '.join(similar)}?"
        return f"; there are {', '.join(sorted(self._transforms))}"

    def extended(self, transforms: Iterable[AnyTransform], refused: Mapping[str, str] | None = None) -> "Registry":
        """A registry that also has these. Raises `InvalidMapping` if a name is taken."""
        return Registry([*self, *transforms], {**self._refused, **(refused or {})})
