"""Texts by locale, in plain dictionaries: a part of the independent model."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Document: TypeAlias = dict[str, Any]


def foreign_texts(payloads: Sequence[Document], channel: Document) -> set[str]:
    """The attributes that show a text of one of the channel's fallbacks."""
    own = {"locale": channel["locale"]}
    foreign: set[str] = set()
    for payload in reversed(payloads):
        foreign -= payload.get("attributes", {}).keys()
        for code, text in payload.get("localized", {}).items():
            if text_for(channel, text) is not None:
                (foreign.discard if text_for(own, text) is not None else foreign.add)(code)
    return foreign


def text_for(channel: Document, text: Mapping[str, Any]) -> Any:  # noqa: ANN401  # a text, or a list of them
    """The text or the texts for the channel's locale (`de-AT`, then `de`), else for its fallbacks, in the same way."""
    for locale in map(normal_locale, [channel["locale"], *channel.get("fallbacks", [])]):
        while locale:
            if found := said(text.get(locale)):
                return found
            locale = locale.rpartition("-")[0]  # noqa: PLW2901  # "de-AT" becomes "de", and "de" ends the search
    return None


def translated(text: Mapping[str, Any]) -> Document:
    """A text by locale, or a list of texts, without blank ones."""
    return {normal_locale(locale): said(each) for locale, each in text.items() if said(each)}


def said(text: Any) -> Any:  # noqa: ANN401  # a text, a list of them, or null
    """What a text says, or the texts of a list; nothing if that is blank."""
    if isinstance(text, list):
        return [each for each in text if each.strip()]
    return text if text is not None and text.strip() else None


def normal_locale(locale: str) -> str:
    """A locale as BCP 47 writes it: `de_at` is `de-AT`."""
    language, *others = locale.partition(".")[0].replace("_", "-").split("-")
    forms = {2: str.upper, 4: str.title}
    return "-".join([language.lower(), *(forms.get(len(part), str.lower)(part) for part in others)])
