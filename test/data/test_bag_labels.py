"""Labels of every kind say the same; what a label does not say is not known."""

import pytest
from eval_bags import HEIGHT, WIDTH, detections, grounded, stamp

from kosmos2_core.boxes import Box
from kosmos2_core.errors import InputError
from kosmos2_data.bag_commands import parse_command
from kosmos2_data.bag_labels import commands_of_labels, read_label_file, read_labels
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
    command = parse_command(text, 0)
    return [label.boxes_of(command, index, width, height) for index in range(len(command.grounded.phrases))]


def test_a_grounded_frame_says_where_and_that_it_is_absent(bag_of):
    found = labels(bag_of([grounded("/labels", TEXT, 3)]))
    assert truth(found.label_of("/image", "eye", stamp(3))) == [(MUG,), ()]
    assert truth(found.label_of("/image", "eye", stamp(3)), "the red mug; The Mug.") == [None, (MUG,)]
    assert found.label_of("/image", "eye", stamp(4)) is None


def test_detections_say_by_name_and_what_they_do_not_name_is_absent(bag_of):
    two = "[the mug](0.25,0.25,0.5,0.5) [the mug](0.5,0.5,0.75,0.75)"
    found = labels(bag_of([detections("/labels", two)])).label_of("/image", "eye", stamp(0))
    assert truth(found) == [(MUG, Box(0.5, 0.5, 0.75, 0.75)), ()]


def test_a_file_of_lines_with_stamps(tmp_path):
    found = label_file(
        tmp_path, f"# by hand\n{stamp(3) / 1e9:.3f} {TEXT}\n\n{stamp(4) // 10**9} [x](0,0,1,1)\n"
    )
    assert truth(found.label_of("/image", "eye", stamp(3) + 300_000)) == [
        (MUG,),
        (),
    ]  # ms will do
    assert found.label_of("/image", "eye", stamp(3) + 2_000_000) is None
    assert found.names == {"mug", "bowl", "x"}


def test_each_camera_has_its_own(bag_of, tmp_path):
    said = [grounded("/labels", TEXT, frame="left"), grounded("/labels", "[the mug]()", frame="right")]
    found = labels(bag_of(said), several=True)
    assert truth(found.label_of("/left/image", "left", stamp(0)))[0] == (MUG,)
    assert truth(found.label_of("/right/image", "right", stamp(0)))[0] == ()
    line = f"{stamp(0) / 1e9:.1f} /left/image {TEXT}"
    found = label_file(tmp_path, line, several=True)
    assert truth(found.label_of("/left/image", "any", stamp(0)))[0] == (MUG,)
    assert found.label_of("/right/image", "any", stamp(0)) is None


def test_words_said_twice_are_told_apart_by_their_place(tmp_path):
    text = "put [the mug](0.25,0.25,0.5,0.5) by [the mug](0,0,0.1,0.1)"
    label = label_file(tmp_path, f"1.5 {text}").label_of("/image", "", 1_500_000_000)
    assert truth(label, "put [the mug] by [the mug]") == [(MUG,), (Box(0, 0, 0.1, 0.1),)]


def test_a_box_that_leaves_the_image_is_cut_and_one_beyond_it_says_nothing(bag_of):
    [label] = labels(bag_of([grounded("/labels", TEXT)])).by_camera()[""].values()
    cut = label.phrases[0].__class__("the mug", (4, 11), ((-10.0, 12.0, 32.0, 24.0),))
    beyond = label.phrases[0].__class__("the mug", (4, 11), ((70.0, 12.0, 90.0, 24.0),))
    changed = label.__class__(label.text, (cut,), label.size)
    assert truth(changed)[0] == (Box(0, 0.25, 0.5, 0.5),)
    assert truth(label.__class__(label.text, (beyond,), label.size))[0] is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no label: write lines of `STAMP grounded Markdown`"),
        ("yesterday [a](0,0,1,1)", "line 1: 'yesterday' is not a stamp in seconds, such as 1767225600.100"),
        ("# x\n1.0 the mug", "line 2: no phrase has a box"),
        ("1.0 [the mug]", "line 1: no phrase has a box"),
        ("1.0 [the mug](0.5,0.5,0.2,0.2)", "line 1: the box"),
        ("nan [the mug]()", "line 1: 'nan' is not a stamp"),
        ("1.0 /left/image", "line 1: no phrase has a box"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, sentence):
    with pytest.raises(InputError, match=sentence):
        label_file(tmp_path, text)


def test_labels_give_the_commands(bag_of):
    said = [grounded("/labels", TEXT, 0), grounded("/labels", TEXT, 1), grounded("/labels", "[the egg]()", 2)]
    commands = commands_of_labels(labels(bag_of(said)))
    found = [commands.commands_of("/image", "eye", stamp(number)) for number in range(4)]
    assert [[command.text for command in of_image] for of_image in found] == [
        ["put the mug into the bowl"],  # a rule splits it so
        ["put the mug into the bowl"],
        ["the egg"],
        [],
    ]
    assert found[0][0].index == found[1][0].index != found[2][0].index


def test_every_name_of_detections_is_a_command_for_every_labelled_image(bag_of):
    said = [detections("/labels", "[mug](0,0,1,1)", 0), detections("/labels", "[bowl](0,0,1,1)", 1)]
    commands = commands_of_labels(labels(bag_of(said)))
    assert [command.text for command in commands.commands_of("/image", "eye", stamp(1))] == ["bowl", "mug"]
