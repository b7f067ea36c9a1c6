"""HTML to plain text, in one pass, in linear time.

Tags are left out; those of blocks end a line, items of lists begin with a dash. Comments, scripts and styles are
dropped, character references are decoded once. What only looks like a tag, such as `a < b`, is text.
"""

import re
from html import unescape

_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "br",
        "dd",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "main",
        "nav",
        "ol",
        "p",
        "pre",
        "section",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
    ]
)
_DROPPED = frozenset({"script", "style", "template", "noscript"})

_tag = re.compile(r"/?([A-Za-z][A-Za-z0-9:-]*)")
_space = re.compile(r"[^\S\n]+")
_lines = re.compile(r" ?\n[ \n]*")


def html_to_text(html: str, *, lines: bool) -> str:
    """The text of HTML; with `lines`, a line for each block, else all in one."""
    pieces: list[str] = []
    place = 0
    while (begin := html.find("<", place)) >= 0:
        pieces.append(_flat(html[place:begin]))
        place = _after_markup(html, begin, pieces)
        if place < 0:  # nothing ends it: neither this nor anything after it is markup
            place = begin
            break
    pieces.append(_flat(html[place:]))
    text = _space.sub(" ", unescape("".join(pieces)))
    text = _lines.sub("\n", text).strip()
    return text if lines else text.replace("\n", " ")


def _flat(text: str) -> str:
    """Text between tags: a line break there is a space."""
    return text.replace("\n", " ").replace("\r", " ")


def _after_markup(html: str, begin: int, pieces: list[str]) -> int:
    """The place after what begins with `<`; -1 if nothing ends it. What stands for it is added to the text."""
    if html.startswith("<!--", begin):
        end = html.find("-->", begin + 4)
        return end + 3 if end >= 0 else -1
    if html.startswith(("<!", "<?"), begin):
        return _after(html, begin)
    tag = _tag.match(html, begin + 1)
    if tag is None:
        pieces.append("<")
        return begin + 1
    end = _after(html, tag.end())
    name = tag[1].lower()
    if end < 0:
        return -1
    if name in _DROPPED and html[begin + 1] != "/":
        return _after_dropped(html, end, name)
    if name in _BLOCKS:
        pieces.append("\n- " if name == "li" and html[begin + 1] != "/" else "\n")
    return end


def _after(html: str, begin: int) -> int:
    """The place after the next `>` that is not in a quoted attribute; -1 if there is none."""
    place = begin
    while (end := html.find(">", place)) >= 0:
        quote = _open_quote(html, place, end)
        if not quote:
            return end + 1
        closing = html.find(quote, end)
        if closing < 0:
            return end + 1  # a quote that nothing closes is an ordinary character
        place = closing + 1
    return -1


def _open_quote(html: str, begin: int, end: int) -> str:
    """The quote that is open at the end of a part of a tag; "" if none is."""
    opened = ""
    for character in html[begin:end]:
        if opened == character:
            opened = ""
        elif not opened and character in "\"'":
            opened = character
    return opened


def _after_dropped(html: str, begin: int, name: str) -> int:
    """The place after the end tag of an element that is dropped; the end of the text if there is none."""
    found = re.compile(rf"</{name}\b", re.IGNORECASE).search(html, begin)
    if found is None:
        return len(html)
    end = html.find(">", found.end())
    return end + 1 if end >= 0 else len(html)
