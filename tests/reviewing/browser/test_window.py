"""Window and level: in HU, beyond the stored window where the source is at hand."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from review_page import phantom_records, until, write_store

STORED = (-160.0, 240.0)
SHOWN = "() => [dsnetReview.view.low, dsnetReview.view.high]"
# Grey values that a canvas of the crop shows, row by row.
GREYS = """() => {
    const { view } = dsnetReview;
    const { width, height } = view.picture;
    const data = view.shown.grey(view.low, view.high).getContext("2d")
        .getImageData(0, 0, width, height).data;
    return Array.from({ length: width * height }, (_, i) => data[4 * i]);
}"""


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Labels of CT: "with" its source, "without", and "plain" of which no HU is known."""
    folder = tmp_path_factory.mktemp("scans")
    ramp = np.add.outer(8 * np.arange(48), 20 * np.arange(48)) - 600
    file = folder / "slice.png"
    assert cv2.imwrite(str(file), (ramp + 32768).astype(np.uint16))
    low, high = STORED
    image = np.clip((ramp - low) / (high - low), 0, 1).astype(np.float32)
    first = next(phantom_records(1))
    ct = {"window_low": low, "window_high": high}
    whole = {"offset": (0.0, 0.0), "scale": (1.0, 1.0), "image": image, "neighbours": None}
    records = [
        replace(first, key=name, source=source, metadata=ct, quality={"expected_dice": d}, **whole)
        for name, source, d in (("with", str(file), 0.1), ("without", "gone.png", 0.2))
    ]
    records.append(replace(first, key="plain", quality={"expected_dice": 0.3}))
    return write_store(folder / "store", records), ramp


def shown(values, low, high):
    """What a viewer shows of HU in a window."""
    return np.rint(np.clip((values - low) / (high - low), 0, 1) * 255)


def test_presets_show_hu_as_far_as_they_are_known(serve, read, scans):
    store, ramp = scans
    reader = read(serve(store))
    assert reader.key == "with" and reader.ask(SHOWN) == list(STORED)
    presets = reader.page.locator("#presets button")
    names = ["lung 1", "soft tissue 2", "bone 3", "liver 4", "as stored W"]
    assert presets.all_text_contents() == names
    as_stored = presets.get_by_text("as stored")
    for key, window in (("1", (-1350, 150)), ("3", (-500, 1300)), ("4", (-45, 105)), ("2", STORED)):
        reader.press(key)
        assert reader.ask(SHOWN) == list(window)
        # The source tells what lies beyond the stored window.
        wanted = shown(ramp, *window).ravel()
        until(lambda wanted=wanted: np.abs(np.array(reader.ask(GREYS)) - wanted).max() <= 1)
    assert presets.nth(1).get_attribute("aria-pressed") == "true"
    assert reader.page.locator("#stored").text_content() == ""
    reader.press("w")
    assert as_stored.get_attribute("aria-pressed") == "true"
    # The window is a reader's, not a label's.
    reader.press("1")
    reader.decide("u")
    assert reader.key == "without" and reader.ask(SHOWN) == [-1350, 150]
    # Without the source all beyond is black or white, and the page says so.
    wanted = shown(ramp.clip(*STORED), -1350, 150).ravel()
    until(lambda: np.abs(np.array(reader.ask(GREYS)) - wanted).max() <= 1)
    assert "the store has −160 to 240 HU" in reader.page.locator("#stored").text_content()
    reader.decide("u")
    assert reader.key == "plain" and reader.ask(SHOWN) == [0, 1]
    assert presets.first.text_content() == "as stored 1"


def test_values_are_told_in_hu(serve, read, scans):
    reader = read(serve(scans[0]))
    readout = reader.page.locator("#readout")

    def told_at(x, y):
        reader.page.mouse.move(*reader.place(x, y))
        return readout.text_content()

    # 8 * row + 20 * column - 600
    until(lambda: told_at(20, 30) == "40 HU at column 20, row 30 · W 400 L 40 HU")
    assert told_at(1, 5).startswith("≤ −160 HU at column 1, row 5")
    assert told_at(47, 47).startswith("≥ 240 HU")
    reader.press("1")
    until(lambda: told_at(1, 5) == "−540 HU at column 1, row 5 · W 1500 L −600 HU")
    level = reader.page.locator("#level + span")
    assert level.text_content() == "−600 HU"
    # Drag right and down: wider and higher.
    reader.drag((4, 40), (10, 44))
    low, high = reader.ask(SHOWN)
    assert high - low > 1500 and (low + high) / 2 > -600


def test_a_preset_that_shows_nothing_says_so(serve, read, scans, tmp_path):
    record = next(phantom_records(1))
    bone = {"window_low": 300.0, "window_high": 1300.0}
    store = write_store(tmp_path / "bone", [replace(record, metadata=bone, source="gone.png")])
    reader = read(serve(store))
    buttons = reader.page.locator("#presets button")
    assert [buttons.nth(i).is_disabled() for i in range(5)] == [True, True, False, True, False]
    reader.press("1")
    assert reader.ask(SHOWN) == [300, 1300]
    assert reader.said == "No lung window here: the store has 300 to 1300 HU."
