"""HTML in which only what this package writes is markup: every text is escaped where it enters.

A model's text is hostile. It reaches a page as text between tags or inside a quoted attribute, never in a script, a
style or an attribute's name, and the page's content security policy runs no other script than its own.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff\u202a-\u202e\u2066-\u2069]")
_VOID = frozenset({"meta", "img", "br", "line", "circle", "rect", "path", "polygon"})


class Markup(str):
    """A text that is HTML already; everything else is escaped by `element`."""

    __slots__ = ()


Content = str | Markup | Iterable["Content"] | None
"""What an element may hold: text, markup, several of them, or nothing."""


def escape(text: str) -> str:
    r"""A text as HTML that shows it; control and direction characters and broken surrogates become a replacement sign.

    >>> escape('<b a="1">&\ud800\x00')
    '&lt;b a=&quot;1&quot;&gt;&amp;??'
    """
    clean = text.encode("utf-8", "replace").decode("utf-8")
    return html.escape(_CONTROL.sub("?", clean), quote=True)


def join(content: Content) -> Markup:
    """Content as markup.

    >>> join(["<", Markup("<br>"), None])
    '&lt;<br>'
    """
    if content is None:
        return Markup("")
    if isinstance(content, Markup):
        return content
    if isinstance(content, str):
        return Markup(escape(content))
    return Markup("".join(join(part) for part in content))


def element(tag: str, content: Content = None, **attributes: object) -> Markup:
    """An element.

    Args:
        tag: its name.
        content: what it holds.
        **attributes: `class_` is written `class`, other underscores become hyphens; None and False leave an attribute
            out, True writes it without a value.

    Example:
        >>> element("td", "a < b", class_="n", data_v=1.5, hidden=False)
        '<td class="n" data-v="1.5">a &lt; b</td>'
    """
    parts = [tag]
    for name, value in attributes.items():
        written = name.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(written)
        elif value is not None and value is not False:
            parts.append(f'{written}="{escape(str(value))}"')
    opened = f"<{' '.join(parts)}>"
    if tag in _VOID:
        return Markup(opened[:-1] + "/>" if tag not in {"meta", "img", "br"} else opened)
    return Markup(f"{opened}{join(content)}</{tag}>")
