"""Contrast by WCAG AA, names for screen readers, keys alone, small screens, touch."""

import re

import pytest

TEXTS = """() => {
    const seen = [];
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if (!/, 0\\)$/.test(colour)) return colour;
        }
        return getComputedStyle(document.body).backgroundColor;
    };
    for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        if (!own && !element.matches("input, textarea, select")) continue;
        if (!element.checkVisibility() || element.matches(":disabled, option")) continue;
        const name = element.id || element.className || element.tagName;
        seen.push([name, getComputedStyle(element).color, ground(element)]);
    }
    return seen;
}"""

UNNAMED = """() => [...document.querySelectorAll("button, input, select, textarea, canvas")]
    .filter((e) => e.checkVisibility())
    .filter((e) => ![e.getAttribute("aria-label"), e.textContent, e.labels?.[0]?.textContent]
        .some((text) => text?.trim()))
    .map((e) => e.id || e.outerHTML)"""

FOCUSED = """() => {
    const e = document.activeElement;
    const style = getComputedStyle(e);
    return [e.id || e.dataset.end || e.tagName, style.outlineStyle, parseFloat(style.outlineWidth)];
}"""


def luminance(colour):
    """Relative luminance of `rgb(r, g, b)`: WCAG 2.2."""
    parts = [float(part) / 255 for part in re.findall(r"[\d.]+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_contrast_is_wcags():
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert contrast("rgb(119, 119, 119)", "rgb(255, 255, 255)") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("by", ["system", pytest.param("switch", marks=pytest.mark.long)])
def test_every_text_has_the_contrast_of_aa(reviewed, read, theme, by):
    other = {"light": "dark", "dark": "light"}[theme]
    reader = read(reviewed, "Hedy", color_scheme=theme if by == "system" else other)
    if by == "switch":
        reader.page.locator("#theme").click()
    # Everything that can be seen is seen.
    reader.press("r")
    reader.ask(
        "() => { for (const id of ['notice', 'kept', 'mended', 'slices', 'empty']) {"
        " const e = document.getElementById(id); e.hidden = false;"
        " if (!e.childElementCount) e.textContent = 'words'; } }"
    )
    reader.ask(
        "() => { document.getElementById('notice-form').hidden = false;"
        " document.getElementById('more').open = true;"
        " document.getElementById('notice-words').textContent = 'words';"
        " document.getElementById('brush').setAttribute('aria-pressed', 'true'); }"
    )
    reader.until("() => document.querySelectorAll('.row .key').length > 5")
    plain = reader.ask(TEXTS)
    reader.ask("() => document.getElementById('keys').showModal()")
    texts = plain + reader.ask(TEXTS)
    assert len(texts) > 150
    low = {(name, ink, ground) for name, ink, ground in texts if contrast(ink, ground) < 4.5}
    assert low == set()
    ground = reader.ask("() => getComputedStyle(document.body).backgroundColor")
    assert (luminance(ground) < 0.2) == (theme == "dark")


def test_every_control_has_a_name_and_a_focus_that_is_seen(reviewed, read):
    reader = read(reviewed, "Hedy")
    page = reader.page
    unnamed = page.evaluate(UNNAMED)
    assert unnamed == []
    reached = set()
    page.locator("#canvas").focus()
    for _ in range(60):
        page.keyboard.press("Tab")
        found = page.evaluate(FOCUSED)
        if found[0] != "BODY":
            assert found[1] != "none" and found[2] >= 2, found
        reached.add(found[0])
    wanted = "0 1 2 3 accept reject unsure undo comment draw brush threshold size level width"
    wanted += " layer-soft rows order theme help"
    assert set(wanted.split()) <= reached
    assert "expected Dice" in page.locator("#canvas").get_attribute("aria-label")
    assert "Label" in page.get_by_role("status").text_content()


def test_the_help_names_every_key_that_does_something(reviewed, read):
    reader = read(reviewed, "Hedy")
    reader.press("?")
    dialog = reader.page.get_by_role("dialog", name="Keys")
    dialog.wait_for()
    shown = " ".join(dialog.locator("kbd").all_text_contents()).lower()
    for key in "arucz hmbst1wi v+0 gdex,[k l?".replace(" ", ""):
        assert key in shown
    box = dialog.bounding_box()
    assert box["y"] >= 0 and box["y"] + box["height"] <= 720
    assert dialog.evaluate("e => e.scrollHeight <= e.clientHeight + 1")
    reader.press("Escape")
    assert not dialog.is_visible()


@pytest.mark.parametrize(
    "size", [(1280, 720), (820, 1180), pytest.param((1180, 820), marks=pytest.mark.long)]
)
def test_picture_and_verdicts_are_in_sight(reviewed, read, size):
    width, height = size
    reader = read(reviewed, "Hedy", viewport={"width": width, "height": height})
    page = reader.page
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    for name in ("accept", "reject", "unsure", "undo", "comment", "canvas", "help"):
        box = page.locator(f"#{name}").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
        assert box["y"] >= 0 and box["y"] + box["height"] <= height
    stage = page.locator("#canvas").bounding_box()
    assert min(stage["width"], stage["height"]) >= 440
    assert page.locator("#accept").bounding_box()["height"] >= 44


def test_a_finger_drags_an_end_and_two_fingers_zoom(reviewed, read):
    reader = read(reviewed, "Hedy", has_touch=True, viewport={"width": 820, "height": 1180})
    touch = reader.page.context.new_cdp_session(reader.page)

    def fingers(kind, *points):
        told = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(points)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": told})

    mark, scale = reader.mark, reader.ask("() => dsnetReview.view.scale")
    start = reader.place(*mark[:2])
    # Beside the end, as a finger is.
    start[0] += 15
    fingers("touchStart", start)
    fingers("touchMove", [start[0] - 40, start[1] - 30])
    fingers("touchEnd")
    moved = reader.mark
    assert moved[:2] != mark[:2] and moved[2:] == mark[2:]
    x, y = reader.place(4, 4)
    fingers("touchStart", [x, y])
    fingers("touchStart", [x, y], [x + 60, y])
    fingers("touchMove", [x, y], [x + 120, y])
    fingers("touchEnd")
    assert reader.ask("() => dsnetReview.view.scale") == pytest.approx(2 * scale, rel=0.05)
    assert reader.mark == moved
