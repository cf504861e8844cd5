"""A command stands until the next; what the node would refuse changes nothing."""

import pytest
from eval_bags import command, grounded, image, stamp

from kosmos2_core.errors import InputError
from kosmos2_data.bag_commands import command_of_spans, fixed_commands, read_commands, read_phrase_file
from kosmos2_io.bag_reader import BagReader


def commands(bag):
    with BagReader([bag]) as reader:
        return read_commands(reader, "/command")


def words(found):
    return [[command.grounded.words_of(phrase) for phrase in command.grounded.phrases] for command in found]


def test_the_command_that_stands_at_the_stamp_of_the_image(bag_of):
    source = commands(
        bag_of([
            command("/command", "put [the mug] into [the bowl]", 2),
            command("/command", "pick up the egg", 4),  # unmarked: as the node splits it
            command("/command", "", 6),
            command("/command", "pick up the egg", 7),
        ])
    )  # fmt: skip
    found = {number: source.commands_of("/image", "eye", stamp(number)) for number in (1, 2, 3.9, 4, 5, 6, 7)}
    assert found[1] == found[6] == ()
    assert words(found[2]) == words(found[3.9]) == [["the mug", "the bowl"]]
    assert words(found[4]) == words(found[7]) == [["the egg"]]
    assert found[4][0] is found[5][0]
    assert found[4][0].index != found[7][0].index  # given again, it is another


def test_what_names_nothing_leaves_the_earlier_command_standing(bag_of):
    source = commands(bag_of([command("/command", "the mug", 0), command("/command", "go home", 1)]))
    assert words(source.commands_of("/image", "eye", stamp(2))) == [["the mug"]]
    with pytest.raises(InputError, match=r"no command on /command names an object: give --phrase TEXT"):
        commands(bag_of([command("/command", "stop")], "stop.mcap"))


def test_phrases_are_asked_of_every_image():
    source = fixed_commands(["the red mug", "the egg; the bowl"])
    assert words(source.commands_of("/any", "", 5)) == [["the red mug"], ["the egg", "the bowl"]]
    assert source.commands_of("/any", "", 5)[1].marked(1) == "the egg; [the bowl]"


def test_a_file_of_phrases(tmp_path):
    file = tmp_path / "phrases.txt"
    file.write_text("# what we look for\nthe red mug\n\n  put [it] there\n")
    assert read_phrase_file(file) == ["the red mug", "put [it] there"]
    file.write_text("\n# nothing\n")
    with pytest.raises(InputError, match="has no phrase: write one phrase per line"):
        read_phrase_file(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not text in UTF-8"):
        read_phrase_file(file)
    with pytest.raises(InputError, match=r"nowhere\.txt cannot be read: No such file"):
        read_phrase_file(tmp_path / "nowhere.txt")


def test_what_was_asked_is_asked_again_in_the_same_way():
    alone = command_of_spans("the mug; the bowl", [(0, 7), (9, 17)], 0)
    assert alone.text == "the mug; the bowl"  # each stands alone, without the words before it
    assert command_of_spans("put it there", [(4, 6)], 0).text == "put [it] there"


def test_images_and_answers_do_not_disturb(bag_of):
    bag = bag_of([image("/image"), grounded("/grounding", "[a](0,0,1,1)"), command("/command", "the mug")])
    assert words(commands(bag).commands_of("/image", "eye", stamp(0))) == [["the mug"]]
