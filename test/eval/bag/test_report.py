"""The page is one file that needs no network. A browser shows it on any screen, and the keyboard suffices."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from browser import opened
from eval_bags import grounded, image
from PIL import Image

from kosmos2_core import __version__
from kosmos2_core.boxes import Box
from kosmos2_data.bag_frames import ImageSelection
from kosmos2_eval.bag.examples import example_groups
from kosmos2_eval.bag.queries import Prediction, QueryResult

HERE, FAR = Box(0.1, 0.1, 0.3, 0.3), Box(0.6, 0.6, 0.9, 0.9)
ELSEWHERE = re.compile(r"""(?:src|href|url)\s*[=(]\s*["']?\s*(?:https?:)?//""")


@pytest.fixture(scope="module")
def page(evaluated):
    return (evaluated[0] / "report.html").read_text()


@pytest.fixture(scope="module")
def results(evaluated):
    """All queries with the model's predictions."""
    return evaluated[2].results[0]


def data_of(page, name):
    return json.loads(re.search(rf'<script id="{name}" type="application/json">(.*?)</script>', page)[1])


def test_it_is_one_small_file_that_needs_nothing_else(page):
    assert len(page) < 5_000_000
    assert not ELSEWHERE.search(page)
    assert "@import" not in page


def test_metrics_queries_and_images_are_those_of_the_evaluation(page, evaluated, results):
    assert f"{evaluated[1]['figures']['all']['accuracy']['0.5']:.3f}" in page
    table = data_of(page, "rows")
    phrase = table["columns"].index("phrase")
    assert [row[phrase] for row in table["rows"]] == [result.query.text for result in results]
    assert [row[-1] for row in table["rows"]] == [result.verdict for result in results]
    pictures = data_of(page, "pictures")
    shown = {int(number) for number in re.findall(r'data-frame="(\d+)"', page)}
    assert shown == {int(number) for number in pictures}
    assert all(url.startswith("data:image/jpeg;base64,") for url in pictures.values())


def test_every_bin_of_the_reliability_diagram_has_its_count_and_interval(page, evaluated):
    rows = re.findall(r"<tr><td>tabletop-tiny</td><td>(\d+)</td>((?:<td>[^<]*</td>){3})</tr>", page)
    bins = evaluated[1]["figures"]["reliability"]
    assert [int(count) for count, _ in rows] == [entry["count"] for entry in bins]
    assert all(re.search(r"[\d.]+ to [\d.]+</td>$", cells) for _, cells in rows)


def test_version_device_and_options_are_on_the_page(evaluated, run, bag_of, model, tmp_path):
    said = [image("/image"), grounded("/labels", "[the mug](0.2,0.2,0.5,0.5)")]
    run(bag_of(said), tmp_path / "out", as_labelled=True)
    page = (tmp_path / "out/report.html").read_text()
    assert f"<dt>kosmos2</dt><dd>{__version__}</dd>" in page
    assert "<dt>device of tabletop-tiny</dt><dd>cpu, float32</dd>" in page
    assert "<dt>--every</dt><dd>2 &amp; more</dd>" in page


def test_what_no_box_means_is_said(page, evaluated, model, run, bag_of, tmp_path):
    assert evaluated[1]["min_presence"] == [model.engine.min_presence]
    assert f"its presence is below the threshold ({model.min_presence:.3g} for tabletop-tiny)" in page
    said = [image("/image"), grounded("/labels", "put [the mug](0.2,0.2,0.5,0.5) into [the bowl]()")]
    strict = replace(model, presence_threshold=1.0)
    results, evaluation = run(bag_of(said), tmp_path / "out", models=[strict], as_labelled=True)
    missed, rejected = evaluation.results[0]
    assert (missed.verdict, rejected.verdict) == ("missed", "rejected")
    assert results["min_presence"] == [1.0]
    page = (tmp_path / "out/report.html").read_text()
    assert "its presence is below the threshold (1 for tabletop-tiny)" in page
    assert f"no box: not found, presence {missed.presence:.2f}<br>" in page
    assert f"no box: not found, presence {rejected.presence:.2f}, not in the image" in page
    assert "<h3>Missed <small>present phrases without a box" in page
    assert "<h3>Correctly rejected <small>" in page


def test_recorded_answers_do_not_say_their_threshold(run, sim_bag, tmp_path):
    results, _ = run(
        sim_bag, tmp_path, answers=sim_bag, topic="/truth/grounding", selection=ImageSelection(to_s=1.0)
    )
    assert results["min_presence"] == [None]
    assert "its presence is below the threshold<" in (tmp_path / "report.html").read_text()


def test_verdicts(results):
    query = results[0].query

    def verdict(truth, boxes):
        return QueryResult(replace(query, truth=truth), Prediction(boxes, 0.5)).verdict

    assert verdict((HERE,), (HERE,)) == "right"
    assert verdict((HERE,), (FAR,)) == "wrong"
    assert verdict((HERE,), ()) == "missed"
    assert [verdict((), (HERE,)), verdict((), ())] == ["false alarm", "rejected"]
    assert verdict(None, ()) == "not labelled"


def test_a_rejected_absent_phrase_is_no_mistake(results):
    query = results[0].query
    cases = [((HERE,), (FAR,)), ((), (HERE,)), ((HERE,), ()), ((HERE,), (HERE,)), ((), ())]
    scored = [(truth, tuple(replace(box, score=0.9) for box in boxes)) for truth, boxes in cases]
    made = [QueryResult(replace(query, truth=truth), Prediction(boxes, 0.5)) for truth, boxes in scored]
    groups = {group.title: group.indices for group in example_groups(made)}
    assert groups["Wrong with high scores"] == groups["Lowest overlap"] == (0,)
    assert groups["False alarms"] == (1,)
    assert groups["Missed"] == (2,)
    assert groups["Right with high scores"] == groups["Barely right"] == (3,)
    assert groups["Correctly rejected"] == (4,)
    assert groups["Even sample"] == (0, 1, 2, 3, 4)


def test_words_of_a_command_are_no_markup(run, model, bag_of, tmp_path):
    run(bag_of([image("/image")]), tmp_path / "out", phrases=("</script><b>the mug</b> & co",))
    page = (tmp_path / "out/report.html").read_text()
    assert "</script><b>" not in page
    assert data_of(page, "rows")["rows"][0][3].endswith("the mug</b> & co]")


def test_a_browser_shows_it_without_complaint(results, page, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(page)
    shown = opened(file)
    assert shown.console == []
    assert shown.html.count("<tr><td>0") + shown.html.count("<tr><td>1") >= 1
    assert f"{len(results)} of {len(results)}" in shown.html
    assert len(re.findall(r"<tr><td>\d+</td><td>[\d.]+</td><td>/camera", shown.html)) == len(results)
    assert 'href="data:image/jpeg' in shown.html
    for dark in (False, True):
        opened(file, tmp_path / "shot.png", dark)
        picture = Image.open(tmp_path / "shot.png").convert("RGB")
        assert len(picture.getcolors(1 << 24)) > 5000  # photographs, not only a frame around them
        assert (np.median(np.asarray(picture)) < 60) == dark


def test_column_heads_and_images_are_buttons_with_texts(page, tmp_path):
    """Every control can be reached with the keyboard, and every image has an alternative text."""
    file = tmp_path / "report.html"
    file.write_text(page)
    html = opened(file).html
    columns = data_of(page, "rows")["columns"]
    assert re.findall(r'<th scope="col"[^>]*><button type="button">([^<]*)</button>', html) == columns
    tiles = html.count('<figure class="tile')
    assert (
        len(re.findall(r'<button type="button" aria-pressed="false"[^>]*>\s*<svg role="img"', html))
        == tiles
        > 0
    )
    texts = re.findall(r'<svg[^>]*role="img"[^>]*aria-label="([^"]+)"', html)
    assert len(texts) == html.count("<svg")


WIDTH = """
<script>
parent.postMessage(JSON.stringify([innerWidth, document.documentElement.scrollWidth]), "*");
</script>
</body>"""
FRAME = """
<script>onmessage = (event) => (document.body.dataset.width = event.data);</script>
<body><iframe src="report.html" width="{width}" height="900" frameborder="0"></iframe></body>
"""


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_screen(page, tmp_path, width):
    """The page is shown in a frame of this width, as a browser's window cannot be as narrow as a phone."""
    (tmp_path / "report.html").write_text(page.replace("</body>", WIDTH))
    (tmp_path / "frame.html").write_text(FRAME.format(width=width))
    [found] = re.findall(r'data-width="\[(\d+,\d+)\]"', opened(tmp_path / "frame.html").html)
    inner, content = map(int, found.split(","))
    assert inner == width
    assert content <= width


CHOOSE = """
<script>
document.getElementById("verdict").value = "wrong";
document.getElementById("words").value = "%s";
document.getElementById("words").dispatchEvent(new Event("input"));
document.querySelectorAll("#queries th button")[6].click();
</script>
</body>"""


def test_choosing_leaves_the_queries_that_fit_in_table_and_examples(results, page, tmp_path):
    wrong = [result for result in results if result.verdict == "wrong"]
    if not wrong:
        pytest.skip("the model has no wrong box in this recording")
    words = wrong[0].query.phrase
    file = tmp_path / "report.html"
    file.write_text(page.replace("</body>", CHOOSE % words))
    shown = opened(file)
    assert shown.console == []
    fit = [result for result in wrong if words in result.query.text]
    assert f"{len(fit)} of {len(results)}" in shown.html
    scores = [float(score) for score in re.findall(r"<tr>(?:<td>[^<]*</td>){6}<td>([\d.]+)</td>", shown.html)]
    assert scores == sorted(scores)
    assert len(scores) == len(fit)
    visible = re.findall(r'<figure class="tile" data-index="(\d+)">', shown.html)
    assert visible
    assert {results[int(index)] for index in visible} <= set(fit)
