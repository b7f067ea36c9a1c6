"""Locales, whatever their case and separator, and texts by locale: their one form, and which text is shown."""

import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from pagefold.domains.domain import InvalidPayload

TextByLocale: TypeAlias = dict[str, str | None]
"""As a source gives it. In the form in which it is kept, keys are canonical, and no text is null or blank."""

MAX_LOCALE_CHARACTERS = 64

MAX_KNOWN_LOCALES = 2_000
"""So many are remembered in their canonical form; a shop has dozens."""

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
"""What POSIX writes behind an `@`: scripts and variants; a currency says nothing of a language."""

_LANGUAGES = {"in": "id", "iw": "he", "ji": "yi", "jw": "jv", "mo": "ro"}
_REGIONS = {"bu": "mm", "dd": "de", "fx": "fr", "tp": "tl", "uk": "gb", "yd": "ye", "zr": "cd"}
"""Subtags that others have taken the place of (RFC 5646, section 4.5), as old Java writes them; and `UK`."""

_canonical: set[str] = set()
_is_canonical = _canonical.issuperset


def canonical_locale(name: str) -> str | None:
    """A BCP 47 tag in its one form (`de-DE`, `zh-Hant-TW`); None for what is no locale.

    Case does not matter, and `_` is a separator, too. What POSIX and Java add is understood: `de_DE.UTF-8`,
    `ca_ES@valencia`, `sr_RS@latin`, `zh_TW_#Hant`; `@euro` and a codeset are dropped. A language has two or three
    letters, so that neither `default` nor `german` is taken for one.
    """
    if len(name) > MAX_LOCALE_CHARACTERS or not name.isascii():  # in small letters, some others are ASCII
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


def more_general(tag: str) -> list[str]:
    """A canonical tag and what may stand in for it, the most specific first: `de-AT` gives `de-AT`, `de`.

    As RFC 4647, section 3.4, has it: a single letter, which announces what follows, does not stand at an end.
    """
    parts = tag.split("-")
    lengths = [length for length in range(len(parts) - 1, 0, -1) if len(parts[length - 1]) > 1]
    return [tag, *["-".join(parts[:length]) for length in lengths]]


def are_plain(texts: Iterable[Mapping[str, str | None]]) -> bool:
    """Whether texts are known to be in the form in which they are kept. They may be all the same where they are not."""
    for text in texts:
        if not text or not _is_canonical(text):
            return False
        for each in text.values():
            if not each or each.isspace():
                return False
    return True


def plain_text(path: str, text: Mapping[str, str | None]) -> TextByLocale:
    """A text in the form in which it is kept. A translation that is null or blank is none, and is left out.

    Raises `InvalidPayload` for a key that is no locale, and for two that are one.
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


def upcast_text(text: Mapping[str, str | None]) -> TextByLocale:
    """A text of a log that is older than the one form, in that form.

    Of two keys that are one locale the one in that form counts, else the last in the order of the alphabet. What is no
    locale stays, where no channel can ask for it.
    """
    spelt = [(canonical_locale(name) or name, name) for name in text]
    return _without_blanks(
        (tag, text[name]) for tag, name in sorted(spelt, key=lambda each: (each[0] == each[1], each[1]))
    )


def _without_blanks(text: Iterable[tuple[str, str | None]]) -> TextByLocale:
    return {tag: each for tag, each in dict(text).items() if each and not each.isspace()}


def resolve(text: Mapping[str, str | None], locales: Iterable[str]) -> str | None:
    """The text in the first of the locales that has one, or None. The text is in the form in which texts are kept."""
    for locale in locales:
        if locale in text:
            return text[locale]
    return None
