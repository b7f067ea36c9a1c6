"""The sections of docs/runbooks.md as HTML: the file is a part of the package, and is rendered once."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup, escape

FILE = Path(__file__).parent / "runbooks.md"
PROMPT = "$ "
NEWLINE = Markup("\n")
HEADING = 3
"""Tokens of a heading: its start, its text, its end."""

_not_in_anchors = re.compile(r"[^\w\- ]")


class Section(NamedTuple):
    """A section: the anchor by which links name it, its title, and its text."""

    anchor: str
    title: str
    text: Markup


class Runbooks(NamedTuple):
    """What precedes the sections, and the sections, in the order of the file."""

    introduction: Markup
    sections: Sequence[Section]


@cache
def runbooks() -> Runbooks:
    """The whole file."""
    return parse_runbooks(FILE.read_text("utf-8"))


def parse_runbooks(text: str) -> Runbooks:
    """The sections of a page that begins with its title, which is left out. HTML in it is shown as text."""
    markdown = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")
    tokens = markdown.parse(text)
    starts = [number for number, token in enumerate(tokens) if token.type == "heading_open" and token.tag == "h2"]
    parts = [tokens[begin:end] for begin, end in zip([0, *starts], [*starts, len(tokens)], strict=True)]
    texts = [markdown.renderer.render(part[HEADING:], markdown.options, {}) for part in parts]
    titles = [part[1].content for part in parts[1:]]
    sections = [
        Section(anchor_of(title), title, Markup(html))  # noqa: S704  # the renderer has escaped everything
        for title, html in zip(titles, texts[1:], strict=True)
    ]
    return Runbooks(Markup(texts[0]), sections)  # noqa: S704  # likewise


def anchor_of(title: str) -> str:
    """The anchor of a heading, as the documentation has it."""
    return _not_in_anchors.sub("", title.lower()).replace(" ", "-")


class _Renderer(RendererHTML):
    """Tables scroll, commands stand out from what they print, and other pages of the documentation are only named."""

    def table_open(self, _tokens: Sequence[Token], _number: int, _options: OptionsDict, _env: EnvType) -> str:
        """Begins a table."""
        return '<div class="scroll"><table>'

    def table_close(self, _tokens: Sequence[Token], _number: int, _options: OptionsDict, _env: EnvType) -> str:
        """Ends it."""
        return "</table></div>"

    def fence(self, tokens: Sequence[Token], number: int, _options: OptionsDict, _env: EnvType) -> str:
        """A block of code. In the transcript of a shell, each command is marked."""
        lines = map(_line, tokens[number].content.splitlines())
        return f"<pre>{NEWLINE.join(lines)}</pre>"

    def link_open(self, tokens: Sequence[Token], number: int, options: OptionsDict, env: EnvType) -> str:
        """Begins a link, or the name of another page."""
        if _other_page(tokens[number]) is not None:
            return "<span>"
        return self.renderToken(tokens, number, options, env)

    def link_close(self, tokens: Sequence[Token], number: int, options: OptionsDict, env: EnvType) -> str:
        """Ends it. Links are not within each other."""
        opened = next(token for token in reversed(tokens[:number]) if token.type == "link_open")
        page = _other_page(opened)
        if page is not None:
            return f" (docs/{escape(page)})</span>"
        return self.renderToken(tokens, number, options, env)


def _other_page(link: Token) -> str | None:
    """The page of the documentation that a link leads to; None if it leads to a section of this one."""
    page = str(link.attrGet("href") or "").partition("#")[0]
    return page or None


def _line(text: str) -> Markup:
    if not text.startswith(PROMPT):
        return escape(text)
    return Markup('<span class="prompt">$ </span><b>{}</b>').format(text.removeprefix(PROMPT))
