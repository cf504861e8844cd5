"""Data from recordings: nothing that is labelled is lost, and nothing is made up."""

from __future__ import annotations

import numpy as np
import pytest
from recordings import START_NS, Said, messages, write_mcap

from kosmos2_core.answers import Answer, Entity
from kosmos2_core.boxes import Box
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import parse_markdown, write_markdown
from kosmos2_data.bag_frames import ImageSelection
from kosmos2_data.bag_topics import RequestedTopics
from kosmos2_data.check import survey
from kosmos2_data.from_bag import LabelledImages, make_data
from kosmos2_data.record_source import RecordSource
from kosmos2_io.answer_messages import AnswerContext, AnswerMessages
from kosmos2_io.bag_reader import BagReader
from kosmos2_io.images import to_rgb
from kosmos2_sim.bag import BagPlan, make_bag

answers = AnswerMessages(messages)
PLAN = BagPlan(seconds=6, rate_hz=2, seed=3, split="cluttered", width=96, height=72)
WIDTH, HEIGHT = 64, 48


def made_of(folder, *bags, jpeg=None, on_image=lambda: None, **request):
    with BagReader(bags) as bag:
        return make_data(folder, bag, LabelledImages(**request), jpeg, on_image)


def stamp(frame):
    return frame.header.stamp.sec * 10**9 + frame.header.stamp.nanosec


@pytest.mark.parametrize("compressed", [False, True])
def test_what_the_simulation_labels_comes_back_whole(tmp_path, compressed):
    """Each frame, its pixels, and each box of it, to less than a thousandth of a pixel."""
    run = make_bag(tmp_path / "run", BagPlan(**{**vars(PLAN), "compressed": compressed}))
    made = made_of(tmp_path / "data", run)
    source = RecordSource(tmp_path / "data")
    assert (made.images, made.records, len(source)) == (PLAN.frames,) * 3
    assert (dict(made.left_out), made.labels_left_out) == ({}, 0)
    assert survey(source, range(len(source))).bad == []
    images = made.topics[0]
    with BagReader([run]) as bag:
        pairs = zip(bag.messages([images]), bag.messages(["/truth/grounding"]), strict=True)
        for number, (image, truth) in enumerate(pairs):
            record, truth = source[number], truth.message()
            [item] = record.items
            assert (item.task, item.text) == ("locate", parse_markdown(truth.markdown))
            assert f"{stamp(truth) // 10**9}.{stamp(truth) % 10**9:09}" in record.image
            assert np.array_equal(source.image(record), to_rgb(image.message()))
            for phrase, said in zip(truth.phrases, item.text.phrases, strict=True):
                boxes = [[box.x_min, box.y_min, box.x_max, box.y_max] for box in phrase.boxes]
                assert np.allclose([box.pixels(96, 72) for box in said.boxes], boxes, atol=1e-3)


# A detector's labels, and a file's.


def detected(stamp_ns, *things):
    entities = [Entity(name, 0, len(name), (box,)) for name, box in things]
    asked = AnswerContext(messages.header(stamp_ns, "eye"), "eye", "1", WIDTH, HEIGHT, "a person")
    return answers.detections(asked, Answer("", tuple(entities)))


MUG, BOWL = Box(0.25, 0.25, 0.5, 0.5), Box(0.5, 0.5, 0.75, 1)
STAMPS = [START_NS + k * 10**9 for k in range(4)]


def images(topic="/eye/image", stamps=STAMPS):
    pixels = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3)
    frame = topic.split("/")[1]
    return [
        Said(topic, stamp_ns, messages.image(messages.header(stamp_ns, frame), pixels)) for stamp_ns in stamps
    ]


def said_of(folder):
    source = RecordSource(folder)
    return [[write_markdown(item.text) for item in source[k].items] for k in range(len(source))]


def test_names_become_an_item_each_and_what_is_not_named_is_absent(tmp_path):
    bag = write_mcap(
        tmp_path / "run.mcap",
        [
            *images(),
            Said("/labels", STAMPS[0], detected(STAMPS[0], ("mug", MUG), ("bowl", BOWL), ("mug", BOWL))),
            Said("/labels", STAMPS[1], detected(STAMPS[1], ("bowl", BOWL))),
            Said("/labels", STAMPS[2], detected(STAMPS[2])),
        ],
    )
    made = made_of(tmp_path / "data", bag)
    mugs = "[mug](0.25,0.25,0.5,0.5;0.5,0.5,0.75,1)"
    first, second, third = said_of(tmp_path / "data")
    assert first == ["[bowl](0.5,0.5,0.75,1)", mugs]
    assert second == ["[bowl](0.5,0.5,0.75,1)", "[mug]()"]
    assert third in (["[bowl]()"], ["[mug]()"])
    assert dict(made.left_out) == {"no label has its stamp": 1}


def test_a_command_makes_a_sentence_of_names(tmp_path):
    given = [(STAMPS[0], "put [the mug] into [the bowl]"), (STAMPS[1], "take [the spoon]")]
    bag = write_mcap(
        tmp_path / "run.mcap",
        [
            *[Said("/grounding/command", stamp_ns - 1, messages.string(text)) for stamp_ns, text in given],
            *images(stamps=STAMPS[:2]),
            *[Said("/labels", stamp_ns, detected(stamp_ns, ("the mug", MUG))) for stamp_ns in STAMPS[:2]],
            Said("/labels", STAMPS[2], detected(STAMPS[2], ("the bowl", BOWL))),
        ],
    )
    made = made_of(tmp_path / "data", bag)
    first, second = said_of(tmp_path / "data")
    assert first[0] == "put [the mug](0.25,0.25,0.5,0.5) into [the bowl]()"
    assert second == ["[the mug](0.25,0.25,0.5,0.5)", "[the bowl]()"]  # of a spoon no label says anything
    assert made.labels_left_out == 1


def test_lines_of_a_file_are_labels(tmp_path):
    bag = write_mcap(tmp_path / "run.mcap", images())
    labels = tmp_path / "labels.txt"
    labels.write_text(
        "# seconds, then what is true\n"
        f"{START_NS // 10**9} put [the mug](0.1,0.2,0.3,0.4) into [the bowl]()\n"
        f"{START_NS // 10**9 + 2}.0 [a <phrase> mug](0.1,0.2,0.3,0.4)\n"
        "7 [the mug](0.1,0.2,0.3,0.4)\n"
    )
    made = made_of(tmp_path / "data", bag, label_file=labels)
    assert said_of(tmp_path / "data") == [["put [the mug](0.1,0.2,0.3,0.4) into [the bowl]()"]]
    assert made.labels_left_out == 1
    [refused] = [why for why in made.left_out if "<phrase>" in why]
    assert made.left_out[refused] == 1


def test_each_camera_has_its_own_labels(tmp_path):
    boxes = {"left": MUG, "right": BOWL}
    lines = [
        f"{stamp_ns / 1e9:.3f} /{name}/image [the mug]({box.x1},{box.y1},{box.x2},{box.y2})"
        for name, box in boxes.items()
        for stamp_ns in STAMPS
    ]
    (tmp_path / "labels.txt").write_text("\n".join(lines))
    bag = write_mcap(tmp_path / "run.mcap", [*images("/left/image"), *images("/right/image")])
    with pytest.raises(InputError, match="images on /left/image, /right/image: choose with --image"):
        made_of(tmp_path / "data", bag, label_file=tmp_path / "labels.txt")
    made_of(
        tmp_path / "data", bag, label_file=tmp_path / "labels.txt", topics=RequestedTopics(images=("all",))
    )
    source = RecordSource(tmp_path / "data")
    assert len(source) == 8
    for record in (source[k] for k in range(8)):
        [box] = record.items[0].text.phrases[0].boxes
        assert box == boxes["left" if record.image.startswith("images/left_image-") else "right"]


def test_a_part_of_the_bag_and_each_nth_image(tmp_path):
    run = make_bag(tmp_path / "run", PLAN)
    made = made_of(tmp_path / "data", run, selection=ImageSelection(1.0, 4.0, every_nth=2))
    assert (made.images, made.records, made.seconds) == (4, 4, 3.0)
    names = [RecordSource(tmp_path / "data")[k].image for k in range(4)]
    assert [float(name[7:-4]) - 1_767_225_600 for name in names] == [1, 2, 3, 4]


def test_damaged_images_are_counted_by_reason(tmp_path):
    frames = images()
    frames[1].message.encoding = "nonsense"
    bag = write_mcap(tmp_path / "run.mcap", frames)
    line = "[the mug](0.1,0.2,0.3,0.4)"
    (tmp_path / "labels.txt").write_text("\n".join(f"{stamp_ns / 1e9:.3f} {line}" for stamp_ns in STAMPS))
    made = made_of(tmp_path / "data", bag, label_file=tmp_path / "labels.txt")
    [(why, count)] = made.left_out.items()
    assert (count, made.records) == (1, 3)
    assert why.startswith("the image's encoding 'nonsense' is not known")


def test_without_labels_it_says_which_there_could_be(tmp_path):
    bag = write_mcap(
        tmp_path / "run.mcap", [*images(), Said("/found", STAMPS[0], detected(STAMPS[0], ("mug", MUG)))]
    )
    with pytest.raises(InputError, match=r"no topic of the bag is named as labels: .*the bag has /found\."):
        made_of(tmp_path / "data", bag)
    assert made_of(tmp_path / "data", bag, topics=RequestedTopics(labels="/found")).records == 1


def test_where_nothing_fits_nothing_is_left_behind(tmp_path):
    bag = write_mcap(tmp_path / "run.mcap", images())
    (tmp_path / "labels.txt").write_text("7 [the mug](0.1,0.2,0.3,0.4)\n")
    with pytest.raises(InputError, match=r"none of the 4 images on /eye/image can be used \(4: no label has"):
        made_of(tmp_path / "data", bag, label_file=tmp_path / "labels.txt")

    def interrupt():
        raise KeyboardInterrupt

    (tmp_path / "labels.txt").write_text(f"{START_NS // 10**9} [the mug](0.1,0.2,0.3,0.4)\n")
    with pytest.raises(KeyboardInterrupt):
        made_of(tmp_path / "data", bag, label_file=tmp_path / "labels.txt", on_image=interrupt)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["labels.txt", "run.mcap"]
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match="data exists: choose a free name"):
        made_of(tmp_path / "data", bag, label_file=tmp_path / "labels.txt")
