"""The page is one file that needs no network, and works in a real browser: no errors, pictures, choices."""

import json
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from browser import opened
from eval_bags import grounded, image
from PIL import Image

from kosmos2_core.boxes import Box
from kosmos2_eval.bag.queries import Found, Judged
from kosmos2_eval.bag.report import verdict

HERE, FAR = Box(0.1, 0.1, 0.3, 0.3), Box(0.6, 0.6, 0.9, 0.9)
ELSEWHERE = re.compile(r"""(?:src|href|url)\s*[=(]\s*["']?\s*(?:https?:)?//""")


@pytest.fixture(scope="module")
def page(evaluated):
    return (evaluated[0] / "report.html").read_text()


def data_of(page, name):
    return json.loads(re.search(rf'<script id="{name}" type="application/json">(.*?)</script>', page)[1])


def test_it_is_one_small_file_that_needs_nothing_else(page):
    assert len(page) < 5_000_000
    assert not ELSEWHERE.search(page)
    assert "@import" not in page


def test_figures_queries_and_pictures_are_those_of_the_evaluation(page, evaluated):
    _, results, evaluation = evaluated
    judged = evaluation.judged[0]
    assert f"{results['figures']['all']['accuracy']['0.5']:.3f}" in page
    table = data_of(page, "rows")
    assert [row[table["columns"].index("phrase")] for row in table["rows"]] == [
        one.query.text for one in judged
    ]
    assert Counter(row[-1] for row in table["rows"]) == Counter(map(verdict, judged))
    pictures = data_of(page, "pictures")
    shown = {int(number) for number in re.findall(r'data-frame="(\d+)"', page)}
    assert shown == {int(number) for number in pictures}
    assert all(url.startswith("data:image/jpeg;base64,") for url in pictures.values())


def test_what_no_box_means_is_said(page, evaluated, model, run, bag_of, tmp_path):
    assert evaluated[1]["min_presence"] == [model.engine.min_presence]
    assert f"its presence is below the threshold ({model.threshold:.3g} for tabletop-tiny)" in page
    said = [image("/image"), grounded("/labels", "put [the mug](0.2,0.2,0.5,0.5) into [the bowl]()")]
    strict = replace(model, min_presence=1.0)
    results, evaluation = run(bag_of(said), tmp_path / "out", models=[strict], as_labelled=True)
    missed, rejected = evaluation.judged[0]
    assert (verdict(missed), verdict(rejected)) == ("missed", "rejected")
    assert results["min_presence"] == [1.0]
    page = (tmp_path / "out/report.html").read_text()
    assert "its presence is below the threshold (1 for tabletop-tiny)" in page
    assert f"no box: not found, presence {missed.presence:.2f}<br>" in page
    assert f"no box: not found, presence {rejected.presence:.2f}, it is not there" in page
    assert "<h3>Missed <small>in the image, without a box" in page


def test_recorded_answers_do_not_say_their_threshold(run, sim_bag, tmp_path):
    results, _ = run(sim_bag, tmp_path, answers=sim_bag, topic="/truth/grounding", to_s=1.0)
    assert results["min_presence"] == [None]
    assert "its presence is below the threshold<" in (tmp_path / "report.html").read_text()


def test_verdicts(evaluated):
    known = evaluated[2].judged[0][0]

    def of(truth, boxes):
        return verdict(Judged(replace(known.query, truth=truth), Found(boxes, 0.5)))

    assert [of((HERE,), (HERE,)), of((HERE,), (FAR,)), of((HERE,), ())] == ["right", "wrong", "missed"]
    assert [of((), (HERE,)), of((), ())] == ["false alarm", "rejected"]
    assert of(None, ()) == "not labelled"


def test_words_of_a_command_are_no_markup(run, model, bag_of, tmp_path):
    run(bag_of([image("/image")]), tmp_path / "out", phrases=("</script><b>the mug</b> & co",))
    page = (tmp_path / "out/report.html").read_text()
    assert "</script><b>" not in page
    assert data_of(page, "rows")["rows"][0][3].endswith("the mug</b> & co]")


def test_a_browser_shows_it_without_complaint(evaluated, page, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(page)
    shown = opened(file)
    assert shown.console == []
    count = len(evaluation_of(evaluated))
    assert shown.html.count("<tr><td") == count
    assert f"{count} of {count}" in shown.html
    assert 'href="data:image/jpeg' in shown.html
    for dark in (False, True):
        opened(file, tmp_path / "shot.png", dark)
        picture = Image.open(tmp_path / "shot.png").convert("RGB")
        assert len(picture.getcolors(1 << 24)) > 5000  # photographs, not only a frame around them
        assert (np.median(np.asarray(picture)) < 60) == dark


CHOOSE = """
<script>
document.getElementById("verdict").value = "wrong";
document.getElementById("words").value = "%s";
document.getElementById("words").dispatchEvent(new Event("input"));
document.querySelectorAll("#queries th")[6].onclick();
</script>
</body>"""


def test_choosing_leaves_the_queries_that_fit_in_table_and_pictures(evaluated, page, tmp_path):
    judged = evaluation_of(evaluated)
    wrong = [one for one in judged if verdict(one) == "wrong"]
    words = wrong[0].query.phrase
    file = tmp_path / "report.html"
    file.write_text(page.replace("</body>", CHOOSE % words))
    shown = opened(file)
    assert shown.console == []
    fit = [one for one in wrong if words in one.query.text]
    assert f"{len(fit)} of {len(judged)}" in shown.html
    scores = [float(one) for one in re.findall(r"<tr>(?:<td>[^<]*</td>){6}<td>([\d.]+)</td>", shown.html)]
    assert scores == sorted(scores)
    assert len(scores) == len(fit)
    visible = re.findall(r'<figure class="tile" data-place="(\d+)">', shown.html)
    assert visible
    assert {judged[int(place)] for place in visible} <= set(fit)


def evaluation_of(evaluated):
    return evaluated[2].judged[0]
