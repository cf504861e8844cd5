"""Labels of every kind say the same; what a label does not say is not known."""

import pytest
from eval_bags import HEIGHT, WIDTH, detections, grounded, stamp

from kosmos2_core.boxes import Box
from kosmos2_core.errors import InputError
from kosmos2_data.bag_commands import asked_of
from kosmos2_data.bag_labels import as_labelled, read_label_file, read_labels
from kosmos2_io.bag_reader import BagReader

MUG = Box(0.25, 0.25, 0.5, 0.5)
TEXT = "put [the mug](0.25,0.25,0.5,0.5) into [the bowl]()"


def labels(bag, topic="/labels", several=False):
    with BagReader([bag]) as reader:
        return read_labels(reader, topic, several)


def label_file(tmp_path, text, several=False):
    file = tmp_path / "labels.txt"
    file.write_text(text)
    return read_label_file(file, several)


def truth(label, text="put [the mug] into [the bowl]", width=WIDTH, height=HEIGHT):
    asked = asked_of(text, 0)
    return [label.of(asked, index, width, height) for index in range(len(asked.grounded.phrases))]


def test_a_grounded_frame_says_where_and_that_it_is_absent(bag_of):
    found = labels(bag_of([grounded("/labels", TEXT, 3)]))
    assert truth(found.at("/image", "eye", stamp(3))) == [(MUG,), ()]
    assert truth(found.at("/image", "eye", stamp(3)), "the red mug; The Mug.") == [None, (MUG,)]
    assert found.at("/image", "eye", stamp(4)) is None


def test_detections_say_by_name_and_what_they_do_not_name_is_absent(bag_of):
    two = "[the mug](0.25,0.25,0.5,0.5) [the mug](0.5,0.5,0.75,0.75)"
    found = labels(bag_of([detections("/labels", two)])).at("/image", "eye", stamp(0))
    assert truth(found) == [(MUG, Box(0.5, 0.5, 0.75, 0.75)), ()]


def test_a_file_of_lines_with_stamps(tmp_path):
    found = label_file(
        tmp_path, f"# by hand\n{stamp(3) / 1e9:.3f} {TEXT}\n\n{stamp(4) // 10**9} [x](0,0,1,1)\n"
    )
    assert truth(found.at("/image", "eye", stamp(3) + 300_000)) == [(MUG,), ()]  # milliseconds will do
    assert found.at("/image", "eye", stamp(3) + 2_000_000) is None
    assert found.words == {"mug", "bowl", "x"}


def test_each_camera_has_its_own(bag_of, tmp_path):
    said = [grounded("/labels", TEXT, frame="left"), grounded("/labels", "[the mug]()", frame="right")]
    found = labels(bag_of(said), several=True)
    assert truth(found.at("/left/image", "left", stamp(0)))[0] == (MUG,)
    assert truth(found.at("/right/image", "right", stamp(0)))[0] == ()
    line = f"{stamp(0) / 1e9:.1f} /left/image {TEXT}"
    found = label_file(tmp_path, line, several=True)
    assert truth(found.at("/left/image", "any", stamp(0)))[0] == (MUG,)
    assert found.at("/right/image", "any", stamp(0)) is None


def test_words_said_twice_are_told_apart_by_their_place(tmp_path):
    text = "put [the mug](0.25,0.25,0.5,0.5) by [the mug](0,0,0.1,0.1)"
    label = label_file(tmp_path, f"1.5 {text}").at("/image", "", 1_500_000_000)
    assert truth(label, "put [the mug] by [the mug]") == [(MUG,), (Box(0, 0, 0.1, 0.1),)]


def test_a_box_that_leaves_the_image_is_cut_and_one_beyond_it_says_nothing(bag_of):
    [label] = labels(bag_of([grounded("/labels", TEXT)])).of_each()[""].values()
    cut = label.named[0].__class__("the mug", (4, 11), ((-10.0, 12.0, 32.0, 24.0),))
    beyond = label.named[0].__class__("the mug", (4, 11), ((70.0, 12.0, 90.0, 24.0),))
    changed = label.__class__(label.text, (cut,), label.size)
    assert truth(changed)[0] == (Box(0, 0.25, 0.5, 0.5),)
    assert truth(label.__class__(label.text, (beyond,), label.size))[0] is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no label: write `STAMP grounded Markdown`, one image a line"),
        ("yesterday [a](0,0,1,1)", "line 1: 'yesterday' is no stamp in seconds, as 1767225600.100 is"),
        ("# x\n1.0 the mug", "line 2: it marks nothing with a box"),
        ("1.0 [the mug]", "line 1: it marks nothing with a box"),
        ("1.0 [the mug](0.5,0.5,0.2,0.2)", "line 1: the box"),
        ("nan [the mug]()", "line 1: 'nan' is no stamp"),
        ("1.0 /left/image", "line 1: it marks nothing with a box"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, sentence):
    with pytest.raises(InputError, match=sentence):
        label_file(tmp_path, text)


def test_labels_say_what_to_ask(bag_of):
    said = [grounded("/labels", TEXT, 0), grounded("/labels", TEXT, 1), grounded("/labels", "[the egg]()", 2)]
    asking = as_labelled(labels(bag_of(said)))
    at = [asking.at("/image", "eye", stamp(number)) for number in range(4)]
    assert [[one.text for one in asked] for asked in at] == [
        ["put the mug into the bowl"],  # a rule splits it so
        ["put the mug into the bowl"],
        ["the egg"],
        [],
    ]
    assert at[0][0].standing == at[1][0].standing != at[2][0].standing


def test_of_detections_every_name_is_asked_of_every_labelled_image(bag_of):
    said = [detections("/labels", "[mug](0,0,1,1)", 0), detections("/labels", "[bowl](0,0,1,1)", 1)]
    asking = as_labelled(labels(bag_of(said)))
    assert [one.text for one in asking.at("/image", "eye", stamp(1))] == ["bowl", "mug"]
