"""Locales and texts by locale: their canonical form, and which text is shown."""

import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias, TypeVar

from pagefold.domains.domain import InvalidPayload

TextByLocale: TypeAlias = dict[str, str | None]
"""A text as a source sends it. In canonical form, keys are canonical tags and no text is null or blank."""

TextsByLocale: TypeAlias = dict[str, str | list[str] | None]
"""A text, or a list of texts, by locale, likewise. No list is empty."""

Translation = TypeVar("Translation", bound=str | list[str] | None)

MAX_LOCALE_CHARACTERS = 64

MAX_KNOWN_LOCALES = 2_000
"""How many canonical tags are cached. A shop has dozens."""

_tag = re.compile(
    r"(?P<language>[a-z]{2,3}|(?:ar|kok|ms|sgn|sw|uz|zh)-(?P<extended>[a-z]{3}))(?:-(?P<script>[a-z]{4}))?"
    r"(?:-(?P<region>[a-z]{2}|[0-9]{3}))?(?P<variants>(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*)"
    r"(?P<extensions>(?:-[0-9a-wyz](?:-[a-z0-9]{2,8})+)*(?:-x(?:-[a-z0-9]{1,8})+)?)",
    re.ASCII,
)
_posix = re.compile(r"([^.@]+)(?:\.[A-Za-z0-9-]+)?(?:@([A-Za-z]+))?", re.ASCII)
_java_script = re.compile(r"([A-Za-z]{2,3})((?:_[A-Za-z]{2}|_[0-9]{3})?)_+#([A-Za-z]{4})", re.ASCII)

_SCRIPTS = {"latin": "latn", "cyrillic": "cyrl", "devanagari": "deva"}
_VARIANTS = frozenset({"tarask", "valencia"})
_MODIFIERS = frozenset({"euro", *_SCRIPTS, *_VARIANTS})
"""What POSIX writes after `@`: scripts and variants. `euro` is accepted and dropped."""

_LANGUAGES = {"in": "id", "iw": "he", "ji": "yi", "jw": "jv", "mo": "ro"}
_REGIONS = {"bu": "mm", "dd": "de", "fx": "fr", "tp": "tl", "uk": "gb", "yd": "ye", "zr": "cd"}
"""Deprecated subtags and their replacements (RFC 5646, section 4.5), as old Java writes them; and `UK`."""

_canonical: set[str] = set()
_is_canonical = _canonical.issuperset


def canonical_locale(name: str) -> str | None:
    """The canonical BCP 47 tag (`de-DE`, `zh-Hant-TW`) of a locale; None if the name is not a locale.

    Case does not matter, and `_` is a separator, too. POSIX and Java forms are understood: `de_DE.UTF-8`,
    `ca_ES@valencia`, `sr_RS@latin`, `zh_TW_#Hant`; `@euro` and a codeset are dropped. A language has two or three
    letters, so that `default` and `german` are not locales.
    """
    if len(name) > MAX_LOCALE_CHARACTERS or not name.isascii():  # some other characters are ASCII in lower case
        return None
    posix = _posix.fullmatch(_java_script.sub(r"\1_\3\2", name))
    if posix is None:
        return None
    found = _tag.fullmatch(posix[1].replace("_", "-").lower())
    modifier = (posix[2] or "").lower()
    if found is None or not (modifier == "" or modifier in _MODIFIERS):
        return None
    tag = _joined(found, modifier)
    if len(_canonical) < MAX_KNOWN_LOCALES:
        _canonical.add(tag)
    return tag


def _joined(found: re.Match[str], modifier: str) -> str:
    language = found["extended"] or found["language"]
    script = found["script"] or _SCRIPTS.get(modifier)
    region = found["region"]
    parts = [_LANGUAGES.get(language, language)]
    parts += [script.title()] if script else []
    parts += [_REGIONS.get(region, region).upper()] if region else []
    variant = f"-{modifier}" if modifier in _VARIANTS else ""
    return "-".join(parts) + found["variants"] + variant + found["extensions"]


def with_general_forms(tag: str) -> list[str]:
    """A canonical tag and its fallbacks, most specific first: `de-AT` gives `de-AT`, `de`.

    As in RFC 4647, section 3.4, no tag ends in a single letter, which only introduces what follows.
    """
    parts = tag.split("-")
    lengths = [length for length in range(len(parts) - 1, 0, -1) if len(parts[length - 1]) > 1]
    return [tag, *["-".join(parts[:length]) for length in lengths]]


def are_canonical(texts: Iterable[Mapping[str, str | list[str] | None]]) -> bool:
    """Whether all texts are known to be canonical. A canonical text whose tags are not cached yet gives False."""
    for text in texts:
        if not text or not _is_canonical(text):
            return False
        for each in text.values():
            if not each or (each.isspace() if type(each) is str else not all(map(_is_filled, each))):
                return False
    return True


def _is_filled(text: str) -> bool:
    return bool(text) and not text.isspace()


def canonical_text(path: str, text: Mapping[str, Translation]) -> dict[str, Translation]:
    """A text in canonical form, without null and blank translations.

    Raises `InvalidPayload` for a key that is not a locale, and for two keys of the same locale.
    """
    names: dict[str, str] = {}
    for name in text:
        tag = canonical_locale(name)
        if tag is None:
            raise InvalidPayload(f"{path}.{name}", "is not a locale; write a BCP 47 tag such as 'de' or 'de-AT'")
        if tag in names:
            raise InvalidPayload(f"{path}.{name}", f"is the same locale as {names[tag]!r}: {tag}")
        names[tag] = name
    return _without_blanks((tag, text[name]) for tag, name in names.items())


def upcast_text(text: Mapping[str, Translation]) -> dict[str, Translation]:
    """A text of an older log, in canonical form.

    Of two keys of the same locale, the canonical one wins, else the last in alphabetical order. Keys that are not
    locales are kept; no channel asks for them.
    """
    spelt = [(canonical_locale(name) or name, name) for name in text]
    return _without_blanks(
        (tag, text[name]) for tag, name in sorted(spelt, key=lambda each: (each[0] == each[1], each[1]))
    )


def _without_blanks(text: Iterable[tuple[str, Translation]]) -> dict[str, Translation]:
    filled = ((tag, _filled(each)) for tag, each in dict(text).items())
    return {tag: each for tag, each in filled if each}  # type: ignore[misc]  # of the type that it had


def _filled(text: str | list[str] | None) -> str | list[str] | None:
    """A text, or the texts of a list, that are not blank."""
    if isinstance(text, list):
        return list(filter(_is_filled, text))
    return text if text and not text.isspace() else None


def resolve(text: Mapping[str, str | None], locales: Iterable[str]) -> str | None:
    """The text of the first locale that has one, or None. The text must be in canonical form."""
    for locale in locales:
        if locale in text:
            return text[locale]
    return None
