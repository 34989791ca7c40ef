"""The report as a browser shows it: at every width, in both schemes, by keyboard, on
paper, and without asking anybody for anything."""

import itertools
import re
import zlib

import pytest

from tests.browser.conftest import SCHEMES, WIDTHS

MOST_BYTES = 3_000_000


def every(*fast):
    """Name, width and scheme in every combination; all but a few are slow."""
    return [
        pytest.param(*case, marks=[] if case in fast else [pytest.mark.slow])
        for case in itertools.product(("full", "stress"), WIDTHS, SCHEMES)
    ]


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    every(("full", 390, "dark"), ("stress", 1280, "light")),
)
def test_no_accessibility_violation(opened, reports, name, width, scheme):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="no axe-playwright-python"
    )
    page, trouble = opened(reports[name], width=width, scheme=scheme)
    for details in page.query_selector_all("details"):
        details.evaluate("d => d.open = true")
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert not trouble


def test_axe_finds_what_is_broken(opened, tmp_path):
    """The check above can fail: a page with an unnamed picture does."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    path = tmp_path / "broken.html"
    path.write_text('<html><body><svg role="img"></svg><p style="color:#eee">Words</p>')
    page, _ = opened(path)
    found = {v["id"] for v in axe.Axe().run(page).response["violations"]}
    assert {"svg-img-alt", "color-contrast", "html-has-lang"} <= found


def test_nothing_is_asked_of_anybody(opened, reports):
    page, trouble = opened(reports["full"])
    page.wait_for_load_state("networkidle")
    assert not trouble
    # The policy holds: even a script of the page could not reach out.
    reached = page.evaluate(
        "fetch('https://example.invalid/').then(() => true, () => false)"
    )
    assert reached is False
    assert any("Content Security Policy" in line for line in trouble)
    assert not any(line.startswith("request:") for line in trouble)


@pytest.mark.parametrize("name", ["full", "stress"])
def test_the_page_never_scrolls_sideways(opened, reports, name):
    page, _ = opened(reports[name])
    for width in (320, 360, 390, 414, 768, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        wide = page.evaluate(
            "(e => [e.scrollWidth, e.clientWidth])(document.documentElement)"
        )
        assert wide[0] <= wide[1], width
    assert reports[name].stat().st_size < MOST_BYTES


def test_wide_tables_scroll_in_a_region_of_their_own(opened, reports):
    page, _ = opened(reports["full"], width=360)
    region = page.locator(".scroll", has=page.locator("#table-presets"))
    assert region.get_attribute("role") == "region"
    assert page.get_by_role("region", name="Every shock").count() == 1
    region.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.activeElement.scrollLeft > 0")


def column(page, table, j):
    return page.eval_on_selector_all(
        f"#{table} tbody tr", f"rows => rows.map(r => r.cells[{j}].textContent)"
    )


def test_tables_sort_by_keyboard_by_number_and_back(opened, reports):
    page, trouble = opened(reports["full"])
    written = column(page, "table-trades", 0)
    head = page.locator("#table-trades thead th").nth(3)
    button = head.get_by_role("button", name="Value")
    button.focus()
    orders = []
    for key, way in (
        ("Enter", "ascending"),
        ("Space", "descending"),
        ("Enter", "none"),
    ):
        page.keyboard.press(key)
        assert head.get_attribute("aria-sort") == way
        cells = column(page, "table-trades", 3)
        orders.append([float(re.sub(r"[^\d.]", "", c)) for c in cells])
    assert orders[0] == sorted(orders[0])
    assert orders[1] == sorted(orders[1], reverse=True)
    assert column(page, "table-trades", 0) == written
    assert page.locator("#told").text_content() == "Order as written"
    assert not trouble


def test_losses_sort_below_gains_and_the_unknown_stands_last(opened, reports):
    page, _ = opened(reports["full"])
    head = page.locator("#table-presets thead th")
    head.nth(1).get_by_role("button").press("Enter")
    assert column(page, "table-presets", 1)[0].startswith("gain")
    share = head.filter(has_text="Base share")
    j = head.all_text_contents().index(share.text_content())
    for _ in ("ascending", "descending"):
        share.get_by_role("button").press("Enter")
        assert column(page, "table-presets", j)[-1] == "not a loss"
    assert head.nth(1).get_attribute("aria-sort") == "none"


def test_without_script_the_tables_still_read(opened, reports):
    page, _ = opened(reports["full"], script=False)
    assert page.locator("thead button").count() == 0
    assert page.locator("#table-trades thead th").first.text_content() == "Ticker"
    assert page.locator("#table-trades tbody tr").count() > 1


def test_the_skip_link_is_the_first_stop_and_leads_to_the_report(opened, reports):
    page, _ = opened(reports["full"])
    page.keyboard.press("Tab")
    link = page.locator(":focus")
    assert link.text_content() == "Skip to the report"
    assert link.bounding_box()["x"] >= 0
    assert link.evaluate("e => getComputedStyle(e).outlineStyle") != "none"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_headings_go_down_one_step_at_a_time(opened, reports):
    page, _ = opened(reports["full"])
    levels = page.eval_on_selector_all(
        "h1, h2, h3, h4", "found => found.map(h => Number(h.tagName[1]))"
    )
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    targets = page.eval_on_selector_all(
        "nav a", "found => found.map(a => document.querySelector(a.hash) !== null)"
    )
    assert len(targets) >= 5 and all(targets)


def contrast(a, b):
    def luminance(rgb):
        parts = [int(c) / 255 for c in re.findall(r"\d+", rgb)[:3]]
        lin = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
        ]
        return 0.2126 * lin[0] + 0.7152 * lin[1] + 0.0722 * lin[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_in_pictures_stands_out_in_both_schemes(opened, reports, scheme):
    """axe does not judge text inside SVG; the rule is the same, 4.5 to 1."""
    page, _ = opened(reports["full"], scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    paints = set(
        page.eval_on_selector_all(
            "svg text", "found => found.map(t => getComputedStyle(t).fill)"
        )
    )
    assert paints
    assert min(contrast(paint, ground) for paint in paints) >= 4.5
    marks = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 28)"}
    assert ground == marks[scheme]


def test_paper_is_light_and_carries_no_controls(opened, reports):
    page, _ = opened(reports["full"], scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(29, 35, 41)"
    for hidden in ("nav", ".skip", "details.words"):
        assert not page.locator(hidden).first.is_visible()
    assert page.locator(".stamps").is_visible()
    # Nothing is cut: no table is wider than what holds it.
    flows = page.eval_on_selector_all(
        ".scroll", "found => found.map(s => getComputedStyle(s).overflowX)"
    )
    assert set(flows) == {"visible"}
    page.set_viewport_size({"width": 718, "height": 900})  # A4 less its margins
    wide = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert wide[0] <= wide[1]


def drawn(pdf):
    """Size of what is drawn on every page of a PDF of Chromium's, in bytes."""
    objects = {
        int(m.group(1)): m.group(2)
        for m in re.finditer(rb"\n(\d+) 0 obj\n(.*?)\nendobj", pdf, re.S)
    }
    sizes = []
    for body in objects.values():
        if re.search(rb"/Type /Page\b", body):
            content = re.search(rb"/Contents (\d+) 0 R", body)
            stream = objects[int(content.group(1))]
            head, data = stream.split(b"stream\n", 1)
            if b"/FlateDecode" in head:
                data = zlib.decompressobj().decompress(data)
            sizes.append(len(data))
    return sizes


@pytest.mark.parametrize(
    "name", ["full", pytest.param("stress", marks=pytest.mark.slow)]
)
def test_no_page_of_paper_is_blank(opened, reports, name, tmp_path):
    page, _ = opened(reports[name])
    sizes = drawn(page.pdf(format="A4", prefer_css_page_size=True))
    assert len(sizes) >= 2
    page.set_content("<p></p>")
    empty = drawn(page.pdf(format="A4"))[0]
    assert min(sizes) > empty + 1000


def test_motion_is_off_for_those_who_ask(opened, reports):
    page, _ = opened(reports["stress"], reduced_motion="reduce")
    behaviour = "getComputedStyle(document.documentElement).scrollBehavior"
    assert page.evaluate(behaviour) == "auto"
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate(behaviour) == "smooth"


@pytest.mark.slow
def test_the_page_is_painted_within_a_second(opened, reports, record_property):
    """Best of five, against three times the aim: a busy machine is no regression."""
    times = []
    for _ in range(5):
        page, _ = opened(reports["full"])
        page.wait_for_function(
            "performance.getEntriesByName('first-contentful-paint').length > 0"
        )
        times.append(
            page.evaluate(
                "performance.getEntriesByName('first-contentful-paint')[0].startTime"
            )
        )
    record_property("first_contentful_paint_ms", min(times))
    assert min(times) < 3_000
