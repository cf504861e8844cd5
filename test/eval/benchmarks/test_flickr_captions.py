"""Captions of Flickr30k: Karpathy's split, `An image of`, five beams."""

import pytest
from official_data import place, write

from kosmos2_eval.benchmarks.benchmark import BenchmarkPart
from kosmos2_eval.benchmarks.captions import CAPTION


@pytest.fixture
def data(tmp_path, pictures):
    for number, picture in enumerate(pictures):
        place(picture, tmp_path / f"flickr30k-images/{number}.jpg")
    images = [
        {
            "imgid": number,
            "filename": f"{number}.jpg",
            "split": split,
            "sentids": [0, 1],
            "sentences": [{"raw": f"A ring is {where}.", "tokens": []} for where in ("here", "there")],
        }
        for number, split in enumerate(("test", "train", "val", "test"))
    ]
    write(tmp_path / "karpathy/dataset_flickr30k.json", {"images": images, "dataset": "flickr30k"})


@pytest.mark.extra("captions", "pycocoevalcap")
def test_captions_are_the_best_of_the_release_s_five_beams(data, evaluate, peer, pictures):
    questions, ways, figures = evaluate(CAPTION, "test")
    assert [question.images[0].name for question in questions] == ["0.jpg", "3.jpg"]
    assert questions[0].truth == ["A ring is here.", "A ring is there."]
    expected = [peer.says(pictures[number], "An image of", num_beams=5) for number in (0, 3)]
    assert [answer.text for answer in ways["released"]] == expected
    assert figures["released"]["CIDEr"].count == 2
    assert CAPTION.published(BenchmarkPart("test")) == {"CIDEr": 66.7}
