"""Whatever text comes in, only our own markup comes out."""

from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from o3v.comparison.markup import Markup, element, escape, join

TEXTS = st.text(alphabet=st.characters(codec=None)) | st.sampled_from(
    ["<script>", '" onload="', "</td>", "&lt;", "\ud800"]
)


class Seen(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.text = [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@given(TEXTS, TEXTS)
@settings(deadline=None)
def test_any_text_is_text(content, attribute):
    seen = Seen(element("p", [content, element("b", "x")], title=attribute))
    assert [tag for tag, _ in seen.tags] == ["p", "b"]
    assert list(seen.tags[0][1]) == ["title"]
    assert escape(seen.text) == escape(content) + "x"


@given(TEXTS)
@settings(deadline=None)
def test_it_can_be_written_to_a_file(text):
    escape(text).encode("utf-8")


def test_control_and_direction_characters_are_shown():
    assert escape("a\x00b\u202ec\x1b") == "a?b?c?" and escape("a\n\tb") == "a\n\tb"


def test_markup_is_not_escaped_twice():
    assert join([Markup("<i>"), "<i>", None, ["&"]]) == "<i>&lt;i&gt;&amp;"
    assert element("meta", content_="a", http_equiv="b") == '<meta content="a" http-equiv="b">'
    assert element("circle", cx=1) == '<circle cx="1"/>'
