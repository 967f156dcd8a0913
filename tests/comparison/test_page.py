"""The page in a true browser: offline, hostile text, on a phone, in the dark, without script; and its file."""

import re
from pathlib import Path

import pytest

from o3v.comparison.examples import Answered, Example
from o3v.comparison.page import page_of
from tests.comparison.browser import DESK, PHONE, browsed
from tests.comparison.reports import HOSTILE, report
from tests.comparison.test_markup import Seen


@pytest.fixture(scope="module")
def page(chromium, tmp_path_factory):
    with browsed(chromium, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "index.html"
    path.write_text(page_of(report()), encoding="utf-8")
    return path


def opened(page, file, view=DESK, **how):
    page.said.clear()
    page.requests.clear()
    page.open(file, view, **how)
    return page


def test_the_file_asks_for_nothing():
    text = page_of(report())
    seen = Seen(text)
    loading = [
        (tag, name, value)
        for tag, attributes in seen.tags
        for name, value in attributes.items()
        if name in {"src", "srcset", "action", "data", "poster", "background", "style"} or name.startswith("on")
    ]
    assert [found for found in loading if not str(found[2]).startswith("data:image/webp;base64,")] == []
    assert {
        value for tag, found in seen.tags for name, value in found.items() if name == "href" and value[0] != "#"
    } == set()
    assert not {"link", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in seen.tags}
    assert "@import" not in text and not re.search(r"url\(", text)


def test_the_policy_names_its_own_script_and_style_alone():
    policies = [found["content"] for tag, found in Seen(page_of(report())).tags if found.get("http-equiv")]
    assert len(policies) == 1
    rules = dict(part.strip().partition(" ")[::2] for part in policies[0].split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    assert all(re.fullmatch(r"'sha256-[A-Za-z0-9+/=]{44}'", rules[name]) for name in ("script-src", "style-src"))
    assert "connect-src" not in rules and "unsafe" not in policies[0]


def test_one_script_and_one_style_whatever_the_texts():
    tags = [tag for tag, _ in Seen(page_of(report())).tags]
    assert (tags.count("script"), tags.count("style"), tags.count("img")) == (1, 1, 0)


def test_it_opens_offline_without_a_complaint(page, file):
    opened(page, file)
    assert page.said == [] and {url for url in page.requests if not url.startswith("data:")} == {file.as_uri()}
    assert page.ask("document.title") == "A <study> & 5 %: made"
    assert page.ask("document.querySelectorAll('script, style').length") == 2
    assert page.ask("getComputedStyle(document.querySelector('.card')).borderRadius") == "10px"  # the style counts


def test_hostile_text_is_read_as_text(page, file):
    opened(page, file)
    shown = page.ask("document.querySelector('.answer pre').textContent")
    assert shown.startswith("</pre><script>document.title='owned'</script>") and "owned" not in page.ask(
        "document.title"
    )
    assert page.ask("document.querySelectorAll('img, iframe, svg[onload], .answer style').length") == 0


def test_a_script_that_slipped_in_would_not_run(page, file):
    text = file.read_text()
    inserted = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"><p onclick='1'>"
    file.write_text(text.replace("<h2>Findings</h2>", f"<h2>Findings</h2>{inserted}"))
    opened(page, file)
    assert "owned" not in page.ask("document.title") and any("Content Security Policy" in said for said in page.said)


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_scrolls_tables_not_the_page(page, file, dark, tmp_path):
    opened(page, file, PHONE, dark=dark)
    assert page.ask("innerWidth") == 390
    assert page.ask("document.documentElement.scrollWidth") <= 390
    wide = "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > 391 && "
    wide += "!e.closest('.scroll, .answers, nav')).map(e => e.tagName + '.' + e.className)"
    assert page.ask(wide) == []
    assert page.ask("[...document.querySelectorAll('.scroll')].every(e => getComputedStyle(e).overflowX === 'auto')")
    assert page.said == [] and page.picture(tmp_path / "phone.png").stat().st_size > 10_000


def test_dark_is_dark(page, file):
    def background():
        found = page.ask("getComputedStyle(document.body).backgroundColor")
        return [int(part) for part in re.findall(r"\d+", found)][:3]

    opened(page, file, dark=True)
    assert max(background()) < 60
    opened(page, file)
    assert min(background()) > 200


CONTRAST = """(() => {
  const line = (x) => (x / 255 <= .03928 ? x / 255 / 12.92 : ((x / 255 + .055) / 1.055) ** 2.4);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const parts = (name) => [1, 3, 5].map((k) => line(parseInt(colour(name).slice(k, k + 2), 16)));
  const light = (name) => { const [r, g, b] = parts(name); return .2126 * r + .7152 * g + .0722 * b + .05; };
  return (a, b) => Math.max(light(a) / light(b), light(b) / light(a));
})()"""


def test_contrast_is_enough_to_read(page, file):
    """4.5 to 1 for every text on what is behind it, light and dark (WCAG 2.2, 1.4.3)."""
    on_cards = [(name, "--card") for name in ("--ink", "--soft", "--faint", "--accent")]
    pairs = [*on_cards, ("--soft", "--bg"), ("--faint", "--bg"), ("--good", "--good-bg"), ("--bad", "--bad-bg")]
    for dark in (False, True):
        opened(page, file, dark=dark)
        found = {pair: page.ask(f"{CONTRAST}('{pair[0]}', '{pair[1]}')") for pair in pairs}
        assert {pair: ratio for pair, ratio in found.items() if ratio < 4.5} == {}


def test_columns_sort_and_asides_stay(page, file):
    opened(page, file)
    names = "[...document.querySelectorAll('table.sortable')][0].tBodies[0].rows"
    order = f"[...{names}].map(r => r.cells[0].textContent.slice(0, 4))"
    before = page.ask(order)
    click = "document.querySelectorAll('table.sortable th button')[0].click()"
    page.ask(click)
    down = page.ask(order)
    page.ask(click)
    up = page.ask(order)
    assert (
        before[:2] == ["base", "x_1"]
        and down == ["x_1", "base", "</pr", "none"]
        and up == ["</pr", "base", "x_1", "none"]
    )
    assert page.ask("document.querySelector('th[aria-sort]').getAttribute('aria-sort')") == "ascending"
    last = "[...document.querySelectorAll('table.sortable')][0].tBodies"
    assert page.ask(f"[...{last}].slice(1).map(b => b.rows[0].textContent)") == [
        "Trivial answers, no model", "Published figures",
    ]  # fmt: skip


def test_tabs_show_one_part_and_without_script_all(page, file):
    shown = "[...document.querySelectorAll('#curves [data-tab]')].filter(e => e.offsetHeight > 0).length"
    opened(page, file)
    assert page.ask(shown) == 1
    page.ask("document.querySelectorAll('#curves .tabs button')[1].click()")
    assert page.ask("document.querySelector('#curves [data-tab]:not([hidden])').dataset.tab") == "stage sft"
    opened(page, file, script=False)
    assert page.ask(shown) == 2 and page.ask("document.querySelectorAll('th button').length") == 0
    page.call("Emulation.setScriptExecutionDisabled", {"value": False})


def test_what_is_not_known_is_said(page, file):
    text = Seen(file.read_text()).text
    assert "22 of 23" in text and "These runs are missing from everything above." in text
    assert "2 of 3 differences to base can be told from chance. For the other 1, no difference is shown." in text


def test_an_empty_report_is_a_page(page, tmp_path):
    file = tmp_path / "empty.html"
    empty = report(question="Q", tables=(), charts=(), examples=(), unfinished=(), notes=())
    file.write_text(page_of(empty), encoding="utf-8")
    opened(page, file, PHONE)
    assert page.said == [] and "No evaluation has finished yet." in page.ask("document.body.textContent")


def test_pictures_are_inside(page, tmp_path):
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 0, 0)).save(buffer, "WEBP")
    answers = {"base": Answered("text", {"acc": 1.0}, None, buffer.getvalue(), "")}
    file = tmp_path / "index.html"
    shown = report(examples=(Example("b", "q", "t", "drawn at random", 0, "What?", "this", answers),))
    file.write_text(page_of(shown), encoding="utf-8")
    opened(page, file)
    assert page.ask("document.querySelector('.answer img').naturalWidth") == 40
    assert page.said == [] and HOSTILE[:10] not in page.ask("document.querySelector('.example').textContent")
