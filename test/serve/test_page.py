"""The page in a real Chromium: every mode and source, with mouse, touch and keyboard alone."""

from __future__ import annotations

import base64
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from chromium_page import SCENE, PageBrowser, chromium, page_browser, watched  # noqa: F401 (a fixture)
from live_server import live_server
from PIL import Image

from kosmos2_core.boxes import Box, iou
from kosmos2_core.decoding import Decoding
from kosmos2_core.drawing import COLOURS
from kosmos2_core.engine import Engine
from kosmos2_core.grounded_text import parse_markdown
from kosmos2_core.images import load_image
from kosmos2_core.requests import Ask, Caption, Locate
from kosmos2_data.records import record_of

sync_api = pytest.importorskip("playwright.sync_api", reason="set up without the extra `browser`")
expect = sync_api.expect
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models/tabletop-tiny"
SCENES = ROOT / "kosmos2_serve/example_scenes"
TABLETOP = ROOT / "docs/tabletop.jpg"
GREEN_PLATE = Box(0.41, 0.54, 0.71, 0.87)  # in rings.jpg, the first scene
BROWN_MUG = Box(0.69, 0.24, 0.88, 0.48)  # in tabletop.jpg
WIDTHS = [(400, 800), (1280, 800)]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return tmp_path_factory.mktemp("serve") / "records"


@pytest.fixture(scope="module")
def server(records):
    """A server with two models that saves records."""
    engines = {"tabletop-tiny": Engine.load(MODEL), "second": Engine.load(MODEL)}
    with live_server(engines, records=records) as running:
        yield running


@pytest.fixture(scope="module")
def pages(chromium, server):  # noqa: F811
    with page_browser(chromium, server.url) as opened:
        yield opened


@pytest.fixture
def browse(pages):
    with watched(pages):
        yield pages.open


@pytest.fixture(scope="module")
def peer():
    """The same model without a server, to compare answers with."""
    return Engine.load(MODEL)


# What a visitor does.


def choose(page, mode):
    page.locator("#modes label", has_text=mode).click()


def answered(page, pane="a"):
    """Wait for the whole answer and return its text."""
    expect(page.locator(f"#answer-{pane} .timings")).to_contain_text("ms in all")
    return page.locator(f"#answer-{pane} .text").inner_text()


def ask(page, text=None):
    """Ask the text that is there, or another one, and wait for the answer."""
    if text is not None:
        page.fill("#text", text)
    page.click("#run")
    return answered(page)


def upload(page, file=TABLETOP):
    page.set_input_files("#file", file)
    expect(page.locator(SCENE)).to_have_count(0)
    return page


def shapes(page, pane="a"):
    return page.locator(f"#stage-{pane} .shape:not(.dashed)")


def box_of(page, shape):
    """Return a box of the page in fractions of the image."""
    outer = page.locator("#stage-a svg").bounding_box()
    x, y, width, height = (
        float(shape.locator(".line").get_attribute(name)) for name in ("x", "y", "width", "height")
    )
    return Box(
        max(x / outer["width"], 0),
        max(y / outer["height"], 0),
        min((x + width) / outer["width"], 1),
        min((y + height) / outer["height"], 1),
    )


def position(page, x, y):
    """Return a point of the image, given in fractions of it, on the screen."""
    outer = page.locator("#stage-a svg").bounding_box()
    return outer["x"] + x * outer["width"], outer["y"] + y * outer["height"]


def drag(page, start, end):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=3)
    page.mouse.up()


def draw(page, box):
    page.click("#draw")
    drag(page, position(page, box.x1, box.y1), position(page, box.x2, box.y2))


def toast(page):
    expect(page.locator("#toast")).not_to_be_empty()
    return page.locator("#toast").inner_text()


def snippet(page, format_name):
    if not page.locator("#answer-a details[open]").count():
        page.click("#answer-a summary")
    page.locator("#answer-a .snippets label", has_text=format_name).click()
    page.click("#answer-a .snippets button")
    expect(page.locator("#answer-a .snippets button")).to_have_text("Copied")
    return page.evaluate("navigator.clipboard.readText()")


# Modes.


def test_a_visitor_gets_an_answer_with_one_click(browse, peer):
    page = browse()
    [expected] = peer.look(load_image(SCENES / "rings.jpg")).run(Locate(page.input_value("#text")))
    assert len(expected.phrases) == 3
    assert ask(page) == "the orange cube; the green plate; the blue mug"
    expect(shapes(page)).to_have_count(2)
    for index in (0, 1):
        [shown] = [
            box_of(page, shape)
            for shape in shapes(page).all()
            if shape.get_attribute("data-id") == f"{index}.0"
        ]
        assert iou(shown, expected.phrases[index].boxes[0]) > 0.99
    rows = page.locator("#answer-a .phrases > li")
    expect(rows.nth(1)).to_contain_text(f"{expected.phrases[1].boxes[0].score:.2f}")
    expect(rows.nth(2)).to_contain_text("not in the image")


def test_colours_are_those_of_drawn_answers(browse):
    page = browse()
    ask(page)
    names = page.evaluate("import('/palette.js').then(({ COLOURS }) => COLOURS)")
    assert tuple(names) == COLOURS
    red, green, blue = (int(COLOURS[0][start : start + 2], 16) for start in (1, 3, 5))
    phrase = page.locator("#answer-a .phrase").first
    assert phrase.evaluate("node => getComputedStyle(node).backgroundColor") == f"rgb({red}, {green}, {blue})"
    assert page.locator('.shape[data-id="0.0"] .line').get_attribute("stroke") == COLOURS[0]


@pytest.mark.parametrize("way", ["hover", "focus", "click"])
def test_phrases_and_boxes_highlight_each_other(browse, way):
    page = browse()
    ask(page)
    plate, cube = page.locator('.shape[data-id="1.0"]'), page.locator('.shape[data-id="0.0"]')
    phrase = page.locator("#answer-a .text .phrase").nth(1)
    getattr(phrase, way)()
    expect(plate).to_have_class(re.compile("highlighted"))
    expect(plate.locator("text")).to_have_text(re.compile("the green plate 0.9"))
    expect(cube).to_have_class(re.compile("faint"))
    getattr(cube, way)()
    expect(page.locator("#answer-a .text .phrase").nth(0)).to_have_class(re.compile("highlighted"))
    expect(page.locator('#answer-a .box-row button[data-phrase="0"]')).to_have_class(
        re.compile("highlighted")
    )
    expect(phrase).not_to_have_class(re.compile("highlighted"))


def test_marks_in_a_sentence_are_located(browse):
    page = browse()
    assert ask(page, "pick up [the green ring] now") == "pick up the green ring now"
    expect(page.locator("#answer-a .text .phrase")).to_have_text(["the green ring"])
    expect(shapes(page)).to_have_count(1)


def test_more_boxes_are_filtered_without_asking_again(browse, server):
    page = upload(browse())
    page.fill("#boxes", "3")
    page.locator("#threshold").fill("0")
    ask(page, "the green banana")
    scores = [float(text) for text in page.locator("#answer-a .box-row button:first-child").all_inner_texts()]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    asked = server.total('kosmos2_requests_total{endpoint="/v1/locate"')
    middle = (scores[0] + scores[1]) / 2
    page.locator("#threshold").fill(f"{middle:.2f}")
    expect(shapes(page)).to_have_count(1)
    page.locator("#threshold").fill("1")
    expect(page.locator("#answer-a .phrases")).to_contain_text(
        f"no box above the threshold (best {scores[0]:.2f})"
    )
    page.locator("#threshold").fill("0")
    expect(shapes(page)).to_have_count(3)
    assert server.total('kosmos2_requests_total{endpoint="/v1/locate"') == asked > 0


def test_a_heat_map_shows_where_a_phrase_may_be(browse):
    page = browse()
    ask(page)
    page.get_by_role("button", name="Heat map of the green plate").click()
    expect(page.locator("#stage-a .heat-key")).to_contain_text("the green plate")
    pixels = page.locator("#stage-a canvas").evaluate(
        "node => [...node.getContext('2d').getImageData(0, 0, node.width, node.height).data]"
    )
    opacity = np.array(pixels).reshape(32, 32, 4)[:, :, 3]
    rows, columns = np.indices(opacity.shape)
    middle_y, middle_x = (np.average(indices, weights=opacity) / 32 for indices in (rows, columns))
    assert GREEN_PLATE.x1 < middle_x < GREEN_PLATE.x2
    assert GREEN_PLATE.y1 < middle_y < GREEN_PLATE.y2
    page.get_by_role("button", name="Heat map of the green plate").click()
    expect(page.locator("#stage-a canvas")).to_be_hidden()


def test_zoom_looks_again(browse, peer):
    page = browse()
    page.check("#zoom")
    ask(page, "the red ring")
    [zoomed] = peer.look(load_image(SCENES / "rings.jpg")).run(Locate("the red ring", zoom=True))
    assert iou(box_of(page, shapes(page)), zoomed.phrases[0].boxes[0]) > 0.99


@pytest.mark.parametrize("detailed", [False, True])
def test_captions_are_streamed_with_their_boxes(browse, peer, detailed):
    page = browse()
    choose(page, "Caption")
    if detailed:
        page.locator("#details label", has_text="Detailed").click()
    page.evaluate(
        """() => {
          window.texts = new Set();
          const text = document.querySelector("#answer-a .text");
          new MutationObserver(() => texts.add(text.textContent)).observe(text, { childList: true });
        }"""
    )
    page.click("#run")
    text = answered(page)
    [expected] = peer.look(load_image(SCENES / "rings.jpg")).run(Caption(detailed), decoding=Decoding(256))
    assert text == expected.text
    assert page.evaluate("texts.size") > 5
    expect(shapes(page)).to_have_count(sum(len(phrase.boxes) for phrase in expected.phrases))


def test_a_question_can_be_about_a_box(browse, peer):
    page = upload(browse())
    choose(page, "Ask")
    assert ask(page, "How many bananas are there?") == "four"
    draw(page, BROWN_MUG)
    [expected] = peer.look(load_image(TABLETOP)).run(Ask("What colour is this?", BROWN_MUG))
    assert ask(page, "What colour is this?") == expected.text == "brown"


def test_objects_in_an_answer_are_marked_on_request(browse):
    page = browse()
    choose(page, "Ask")
    page.check("#ground")
    assert ask(page, "What is left of the orange cube?")
    expect(page.locator("#answer-a .text .phrase")).to_have_count(1)


def test_a_dialogue_goes_on_until_a_new_one(browse):
    page = upload(browse())
    choose(page, "Chat")
    assert ask(page, "How many bananas are there?")
    first = page.locator("#answer-a .text").inner_text()
    with page.expect_request("**/v1/chat") as request:
        ask(page, "What colour is the mug?")
    assert request.value.post_data_json["turns"] == [
        {"question": "How many bananas are there?", "answer": first}
    ]
    expect(page.locator("#answer-a .turns p")).to_have_text(
        ["How many bananas are there?", first, "What colour is the mug?"]
    )
    page.click("#new-dialogue")
    with page.expect_request("**/v1/chat") as request:
        ask(page, "How many mugs are there?")
    assert request.value.post_data_json["turns"] == []


def test_what_is_this_describes_a_box(browse):
    page = upload(browse())
    draw(page, BROWN_MUG)
    page.click("#describe")
    assert answered(page) == "a brown mug"
    page.click("#clear-region")
    expect(page.locator("#stage-a .shape.dashed")).to_have_count(0)
    expect(page.locator("#draw")).to_be_focused()


def test_two_models_answer_side_by_side(browse):
    page = browse()
    page.select_option("#compare", "second")
    expect(page.locator("#stage-b h2")).to_have_text("second")
    texts = {ask(page), answered(page, "b")}
    assert len(texts) == 1
    expect(shapes(page, "b")).to_have_count(2)
    expect(page.locator("#answer-b .timings")).to_contain_text("second")
    page.select_option("#compare", "")
    expect(page.locator("#stage-b")).to_be_hidden()


# A box, without a mouse.


def test_a_box_is_drawn_with_a_finger(browse):
    page = browse(has_touch=True, viewport={"width": 400, "height": 800})
    upload(page)
    page.tap("#draw")
    session = page.context.new_cdp_session(page)
    page.locator("#stage-a svg").scroll_into_view_if_needed()
    points = [
        position(page, share * BROWN_MUG.x2 + (1 - share) * BROWN_MUG.x1, y)
        for share, y in ((0, 0.24), (0.5, 0.4), (1, 0.48))
    ]
    for kind, point in zip(("touchStart", "touchMove", "touchMove"), points, strict=True):
        session.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [dict(zip("xy", point, strict=True))]}
        )
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page.locator("#stage-a .shape.dashed")).to_have_count(1)
    assert iou(box_of(page, page.locator("#stage-a .shape.dashed")), BROWN_MUG) > 0.9
    page.click("#describe")  # Chromium may take a tap right after these touches for the end of a fling
    assert answered(page) == "a brown mug"


def test_a_box_is_drawn_and_moved_with_the_keyboard(browse):
    page = upload(browse())
    page.focus("#draw")
    page.keyboard.press("Enter")
    expect(page.locator("#stage-a .shape.dashed")).to_be_focused()
    for key, count in (("Shift+ArrowRight", 4), ("ArrowRight", 2), ("Shift+ArrowUp", 1)):
        for _ in range(count):
            page.keyboard.press(key)
    before = box_of(page, page.locator("#stage-a .shape.dashed"))
    assert before.pixels(1, 1) == pytest.approx((0.51, 0.25, 0.91, 0.65))
    page.keyboard.press("Tab")
    handle = page.locator(".handle:focus")
    assert handle.get_attribute("aria-label") == "upper left corner of your box"
    for key, count in (("Shift+ArrowRight", 3), ("ArrowRight", 4)):
        for _ in range(count):
            page.keyboard.press(key)
    after = box_of(page, page.locator("#stage-a .shape.dashed"))
    assert after.pixels(1, 1) == pytest.approx((0.68, 0.25, 0.91, 0.65))
    page.keyboard.press("Escape")
    expect(page.locator(".handle")).to_have_count(0)
    expect(page.locator("#stage-a .shape.dashed")).to_be_focused()
    page.keyboard.press("Delete")
    expect(page.locator("#stage-a .shape.dashed")).to_have_count(0)


# Sources.


def test_an_example_scene_brings_its_question(browse):
    page = browse()
    page.click('#scenes button[data-scene="bananas"]')
    expect(page.locator("#text")).to_have_value("the yellow banana; the brown banana")
    ask(page)
    expect(shapes(page)).to_have_count(2)
    page.fill("#text", "the blue egg")
    page.click('#scenes button[data-scene="rings"]')
    expect(page.locator('#scenes button[data-scene="rings"]')).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#text")).to_have_value("the blue egg")  # the visitor's words stay


def test_an_image_is_uploaded_by_its_button(browse):
    page = browse()
    with page.expect_file_chooser() as chooser:
        page.click("#upload")
    chooser.value.set_files(TABLETOP)
    expect(page.locator("#stage-a img")).to_have_attribute("alt", "tabletop.jpg")
    ask(page, "the bigger green object")
    expect(shapes(page)).to_have_count(1)


FILE = """bytes => {
  const letters = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
  return new File([letters], "copied.png", { type: "image/png" });
}"""


def png_text(tmp_path):
    Image.open(TABLETOP).resize((384, 256)).save(tmp_path / "small.png")
    return base64.b64encode((tmp_path / "small.png").read_bytes()).decode()


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_an_image_is_dropped_or_pasted(browse, tmp_path, event):
    page = browse()
    page.evaluate(
        """([bytes, type]) => {
          const transfer = new DataTransfer();
          transfer.items.add((FILE)(bytes));
          const sent = type === "drop"
            ? new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true })
            : new ClipboardEvent(type, { clipboardData: transfer, bubbles: true, cancelable: true });
          document.body.dispatchEvent(sent);
        }""".replace("FILE", FILE),
        [png_text(tmp_path), event],
    )
    expect(page.locator("#stage-a img")).to_have_attribute("alt", "copied.png")
    ask(page, "the bigger green object")
    expect(shapes(page)).to_have_count(1)


def test_the_paste_button_takes_an_image_from_the_clipboard(browse, tmp_path):
    page = browse()
    page.evaluate("navigator.clipboard.writeText('no image')")
    page.click("#paste")
    assert toast(page) == "There is no image in the clipboard: copy one first."
    page.evaluate(
        f"async bytes => navigator.clipboard.write([new ClipboardItem({{ 'image/png': ({FILE})(bytes) }})])",
        png_text(tmp_path),
    )
    page.click("#paste")
    expect(page.locator("#stage-a img")).to_have_attribute("alt", "pasted.png")
    ask(page, "the bigger green object")
    expect(shapes(page)).to_have_count(1)


def test_the_camera_takes_a_picture_and_is_switched_off(browse):
    page = browse()
    page.evaluate(
        """() => {
          const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
          navigator.mediaDevices.getUserMedia = async (wanted) => (window.media = await open(wanted));
        }"""
    )
    page.click("#camera")
    page.click("#take")
    expect(page.locator("#camera-dialog")).to_be_hidden()
    expect(page.locator("#stage-a img")).to_have_attribute("alt", "camera.jpg")
    assert page.evaluate("media.getTracks().map((track) => track.readyState)") == ["ended"]
    choose(page, "Caption")
    assert ask(page)


def test_a_large_image_is_made_smaller(browse, tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (1500, 2600, 3), np.uint8)).save(tmp_path / "large.png")
    page = upload(browse(), tmp_path / "large.png")
    assert toast(page) == "The image was made smaller: 2048 × 1182 pixels."
    assert ask(page, "the red mug")


def test_a_file_that_is_no_image_is_refused_in_a_sentence(browse, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    page = browse()
    page.set_input_files("#file", tmp_path / "notes.txt")
    assert (
        toast(page) == "“notes.txt” is not an image that this browser can read: use a PNG, JPEG or WebP file."
    )
    expect(page.locator(SCENE)).to_have_count(1)  # the image before is still there


# What goes wrong.


def test_errors_of_the_server_are_shown_as_their_sentence(browse):
    page = browse(refused=True)
    page.fill("#text", "put [the mug there")
    page.click("#run")
    expect(page.locator("#answer-a .error")).to_contain_text("has a `[` without its `]`: close the mark")
    expect(page.locator("#stop")).to_be_hidden()
    ask(page, "the green plate")
    expect(page.locator("#answer-a .error")).to_be_hidden()


def test_an_empty_question_is_not_sent(browse):
    page = browse()
    page.fill("#text", "  ")
    page.click("#run")
    assert toast(page) == "Write what to look for, for example: the red mug."
    expect(page.locator("#text")).to_be_focused()


def test_stop_ends_an_answer_and_keeps_what_was_said(browse):
    page = browse()
    choose(page, "Caption")
    page.locator("#details label", has_text="Detailed").click()
    page.evaluate(
        """() => {
          const text = document.querySelector("#answer-a .text");
          new MutationObserver(() => text.textContent && document.getElementById("stop").click())
            .observe(text, { childList: true });
        }"""
    )
    page.click("#run")
    expect(page.locator("#answer-a .timings")).to_have_text("Stopped")
    assert page.locator("#answer-a .text").inner_text()
    expect(page.locator("#stop")).to_be_hidden()
    expect(page.locator("#run")).to_be_enabled()


HOSTILE = """<img src=x onerror="alert('phrase')"><script>alert('script')</script>"""


def test_html_in_texts_and_file_names_stays_text(browse, tmp_path):
    file = tmp_path / "<img src=x onerror=alert(1)>.jpg"
    file.write_bytes(TABLETOP.read_bytes())
    page = upload(browse(), file)
    images = page.locator("img").count()
    assert HOSTILE in ask(
        page, f"[{HOSTILE.replace('(', chr(92) + '(').replace(')', chr(92) + ')')}] on the table"
    )
    page.locator("#answer-a .text .phrase").hover()
    page.get_by_role("button", name="Heat map").click()
    expect(page.locator("#stage-a .heat-key")).to_contain_text("<img src=x")
    choose(page, "Chat")
    ask(page, HOSTILE)
    ask(page, HOSTILE)
    for name in ("JSON", "curl", "Python", "ROS 2"):
        assert snippet(page, name)
    assert page.locator("img").count() == images
    assert page.locator("script").count() == 1


# Links, records and copies.


def test_a_permalink_and_a_reload_restore_the_page(browse):
    page = browse()
    page.click('#scenes button[data-scene="bowls"]')
    page.fill("#boxes", "2")
    page.check("#zoom")
    page.fill("#text", "the bowl & [the mug]; 50% é <b>")
    page.click("#copy-link")
    assert toast(page) == "The link is in the clipboard."
    link = page.evaluate("navigator.clipboard.readText()")

    def check_restored():
        expect(page.locator('#scenes button[data-scene="bowls"]')).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#text")).to_have_value("the bowl & [the mug]; 50% é <b>")
        expect(page.locator("#boxes")).to_have_value("2")
        expect(page.locator("#zoom")).to_be_checked()

    page.reload()
    check_restored()
    browse()
    expect(page.locator("#boxes")).to_have_value("1")
    browse("#" + link.partition("#")[2])
    check_restored()


@pytest.mark.parametrize("mode", ["Caption", "Ask", "Chat"])
def test_a_permalink_restores_the_mode(browse, mode):
    page = browse()
    choose(page, mode)
    browse("#" + page.url.partition("#")[2])
    expect(page.locator(f'input[name="mode"][value="{mode.lower()}"]')).to_be_checked()


def test_a_corrected_answer_is_saved_as_a_record(browse, records):
    page = browse()
    page.fill("#boxes", "2")
    ask(page)
    page.click("#answer-a button:text('Correct boxes')")
    plate = page.locator('.shape[data-id="1.0"]')
    before = box_of(page, plate)
    plate.focus()
    page.keyboard.press("Enter")
    handle = page.get_by_role("button", name=re.compile("^lower right corner of the green plate"))
    bounds = handle.locator("rect").bounding_box()
    center = bounds["x"] + bounds["width"] / 2, bounds["y"] + bounds["height"] / 2
    drag(page, center, (center[0] + 30, center[1] + 20))
    after = box_of(page, plate)
    assert after.x2 > before.x2 + 0.02
    assert after.y2 > before.y2 + 0.02
    assert (after.x1, after.y1) == pytest.approx((before.x1, before.y1))
    drag(page, position(page, 0.55, 0.7), position(page, 0.5, 0.7))
    assert box_of(page, plate).x1 == pytest.approx(before.x1 - 0.05, abs=0.01)
    for _ in range(page.get_by_role("button", name=re.compile("Remove box . of the orange cube")).count()):
        page.get_by_role("button", name=re.compile("Remove box . of the orange cube")).first.click()
    page.get_by_role("button", name="Add a box for the blue mug").click()
    drag(page, position(page, 0.1, 0.1), position(page, 0.2, 0.3))
    corrected = [box_of(page, page.locator(f'.shape[data-id="{id_}"]')) for id_ in ("1.0", "2.0")]
    page.click("#answer-a button:text('Save as training record')")
    assert toast(page) == "Saved as record 1 in records.jsonl."
    record = record_of((records / "records.jsonl").read_text().splitlines()[-1])
    cube, plates, mug = record.items[0].text.phrases
    assert cube.boxes == ()
    assert iou(plates.boxes[0], corrected[0]) > 0.99
    assert iou(mug.boxes[0], corrected[1]) > 0.99
    assert (records / record.image).read_bytes() == (SCENES / "rings.jpg").read_bytes()


def test_records_of_every_mode_pass_the_check(browse, records):
    page = upload(browse())
    saved = page.locator("#toast")

    def save():
        page.locator("#toast").evaluate("node => (node.textContent = '')")
        page.click("#answer-a button:text('Save as training record')")
        expect(saved).to_contain_text("Saved as record")

    draw(page, BROWN_MUG)
    page.click("#describe")
    answered(page)
    save()
    choose(page, "Ask")
    ask(page, "What colour is this?")
    save()
    choose(page, "Caption")
    ask(page)
    save()
    choose(page, "Chat")
    ask(page, "How many bananas are there?")
    expect(
        page.locator("#answer-a button", has_text="Save as training record")
    ).to_be_hidden()  # records have no dialogues
    items = [record_of(line).items[0] for line in (records / "records.jsonl").read_text().splitlines()[-3:]]
    assert [item.task for item in items] == ["describe", "ask", "caption"]
    assert items[0].text.text == "a brown mug"
    assert iou(items[0].text.phrases[0].boxes[0], BROWN_MUG) > 0.9
    assert items[1].question.text == "What colour is this?"
    assert iou(items[1].question.phrases[0].boxes[0], BROWN_MUG) > 0.9
    checked = subprocess.run(
        [sys.executable, "-m", "kosmos2_cli", "data", "check", records], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_answers_are_copied_as_markdown_and_json(browse):
    page = browse()
    ask(page)
    grounded = parse_markdown(snippet(page, "Markdown"))
    assert [len(phrase.boxes) for phrase in grounded.phrases] == [1, 1, 0]
    answer = json.loads(snippet(page, "JSON"))
    assert [phrase["phrase"] for phrase in answer["phrases"]] == [
        "the orange cube",
        "the green plate",
        "the blue mug",
    ]
    box = answer["phrases"][1]["boxes"][0]
    assert iou(Box(box["x1"], box["y1"], box["x2"], box["y2"]), grounded.phrases[1].boxes[0]) > 0.999


@pytest.mark.parametrize("source", ["scene", "file"])
def test_curl_and_python_ask_the_same(browse, tmp_path, source):
    page = browse()
    text = "the orange cube; the 'green' \"plate\""
    if source == "file":
        (tmp_path / "it's $(touch x).jpg").write_bytes((SCENES / "rings.jpg").read_bytes())
        upload(page, tmp_path / "it's $(touch x).jpg")
    page.fill("#boxes", "2")
    ask(page, text)
    expected = snippet(page, "Markdown")
    run = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 60}
    curled = subprocess.run(["bash", "-c", snippet(page, "curl")], **run)
    assert json.loads(curled.stdout)["markdown"] == expected, curled.stderr
    python = subprocess.run([sys.executable, "-c", snippet(page, "Python")], **run)
    assert python.stdout.strip() == expected, python.stderr
    assert not (tmp_path / "x").exists()


def ros_fields(text):
    """Return the fields of the first part of an interface."""
    lines = [line.partition("#")[0].split() for line in text.partition("---")[0].splitlines()]
    return {words[1] for words in lines if words}


def test_ros_commands_have_the_fields_of_their_interfaces(browse):
    page = upload(browse())
    draw(page, BROWN_MUG)
    page.click("#describe")
    answered(page)
    commands = [snippet(page, "ROS 2")]
    for mode in ("Locate", "Caption", "Ask", "Chat"):
        choose(page, mode)
        ask(page, None if mode == "Caption" else "this 'mug'")
        commands.append(snippet(page, "ROS 2"))
    for command, file in zip(commands, ("Describe", "Locate", "Describe", "Ask", "Converse"), strict=True):
        *words, fields = shlex.split(command)
        assert words[-1].endswith(f"/{file}")
        folder = "action" if file == "Converse" else "srv"
        assert set(yaml.safe_load(fields)) <= ros_fields((ROOT / folder / f"{file}.{folder}").read_text())
    region = yaml.safe_load(shlex.split(commands[0])[-1])["region"]
    assert region == pytest.approx({"x_min": 530, "y_min": 123, "x_max": 676, "y_max": 246}, abs=3)
    assert yaml.safe_load(shlex.split(commands[1])[-1])["text"] == "this 'mug'"


# Everybody can use it.


def axe_violations(page):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        (violation["id"], violation["impact"], [node["html"][:200] for node in violation["nodes"]])
        for violation in found
        if violation["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), WIDTHS)
def test_axe_finds_no_serious_issue(browse, scheme, width, height):
    page = browse(color_scheme=scheme, viewport={"width": width, "height": height})
    ask(page)
    page.click("#answer-a button:text('Correct boxes')")
    page.click("#answer-a .box-row button")
    expect(page.locator(".handle")).to_have_count(8)
    page.click("#answer-a summary")
    page.get_by_role("button", name="Heat map of the green plate").click()
    expect(page.locator("#stage-a .heat-key")).to_be_visible()
    assert axe_violations(page) == []
    choose(page, "Chat")
    ask(page)
    page.select_option("#compare", "second")
    ask(page, "What colour is it?")
    page.click("#camera")
    expect(page.locator("#take")).to_be_enabled()
    assert axe_violations(page) == []


@pytest.mark.parametrize(("width", "height"), [*WIDTHS, (2560, 1440)])
def test_the_page_fits_the_screen(browse, width, height):
    page = browse(viewport={"width": width, "height": height})
    ask(page)
    page.click("#answer-a summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outer = page.locator("#stage-a svg").bounding_box()
    assert outer["width"] > width / 3
    assert outer["height"] < height
    page.select_option("#compare", "second")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_keyboard_alone_reaches_everything(browse):
    page = browse()
    page.focus("#text")
    page.keyboard.press("Enter")
    answered(page)
    page.evaluate("document.querySelector('#answer-a details').open = true")
    wanted = page.evaluate(
        """() => {
          const visible = (node) => node.checkVisibility() && !node.disabled && node.tabIndex >= 0;
          const kinds = "a, button, input, select, textarea, summary, [tabindex]";
          const nodes = [...document.querySelectorAll(kinds)].filter(visible);
          // Of radio buttons, Tab reaches the one that is checked; the arrow keys reach the others.
          const reached = nodes.filter((node) => node.type !== "radio" || node.checked);
          reached.forEach((node, index) => (node.dataset.stop = index));
          document.activeElement.blur();
          return reached.length;
        }"""
    )
    seen = set()
    for _ in range(wanted + 3):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.dataset.stop ?? null"))
    assert len(seen - {None}) == wanted > 25
    page.focus('input[value="locate"]')
    page.keyboard.press("ArrowRight")
    expect(page.locator('input[value="caption"]')).to_be_checked()
    expect(page.locator("#run")).to_have_text("Write a caption")


def test_the_visitor_s_colours_stay(browse):
    page = browse(color_scheme="light")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    page.reload()
    expect(page.locator("#theme")).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


# Other servers.


def test_a_server_with_a_token_asks_for_it(chromium, peer):  # noqa: F811
    with (
        live_server(peer, token="a-secret-token") as other,
        page_browser(chromium, other.url) as opened,
        watched(opened),
    ):
        page = opened.open(refused=True, ready="#token-dialog[open]")
        page.fill("#token", "a-wrong-token")
        page.keyboard.press("Enter")
        expect(page.locator("#toast")).to_contain_text("the token is missing or wrong")
        page.fill("#token", "a-secret-token")
        page.keyboard.press("Enter")
        page.wait_for_selector(SCENE)
        ask(page)
        expect(page.locator("#option-compare")).to_be_hidden()  # it has one model
        expect(page.locator("#answer-a button", has_text="Save as training record")).to_be_disabled()
        expect(page.locator("#answer-a")).to_contain_text("Start the server with --records to save records.")
        assert "a-secret-token" not in snippet(page, "curl")
        page.reload()
        page.wait_for_selector(SCENE)


def test_a_server_that_has_gone_is_named(chromium, peer):  # noqa: F811
    with live_server(peer) as other:
        opened = PageBrowser(chromium, other.url)
        page = opened.open()
    page.click("#run")
    expect(page.locator("#answer-a .error")).to_have_text(
        "The server does not answer: check that it runs, then ask again."
    )
    opened.close()
