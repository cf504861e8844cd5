"""Which spans of a command are to be located: by the rule of words, and by spaCy on Docs made by hand."""

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kosmos2_core.command_parser import SpacySplitter, split_command
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import GroundedText, parse_markdown, write_markdown

# What a person means who speaks like the rule: written before the rule was.
COMMANDS = [
    # Tabletop
    "pick up [the red mug] and put it into [the bowl]",
    "Pick up [the mug left of the bowl].",
    "grab [the ball next to the blue box]",
    "find [the can with the red label]",
    "put [the mug] on [the table]",
    "put [the mug next to the bowl] into [the box]",
    "move [the cup] to the left of [the plate]",
    "stack [the green block] on top of [the red one]",
    "take [the mug] from [the shelf]",
    "grab [scissors]",
    "put [cups] on [plates]",
    "Pick up [the red and blue ball].",
    "PICK UP [THE MUG] AND [THE BOWL]",
    "pick up [the banana], [the apple] and [the orange]",
    "place [the yellow cube] between [the red cube and the green cube]",
    "pick it up",
    "put it on [the table next to the bowl]",
    "put [the mug on the tray] next to [the sink]",
    "put [the mug] on [the table] and [the bowl] on [the shelf]",
    "put [the mug that is on the floor] on [the tray]",
    "Grasp [the screwdriver with the yellow handle]!",
    "lift [the wooden box] slowly",
    "push [the blue block] towards [the red triangle]",
    "slide [the plate] to the left",
    "move [the cup] left, then release it",
    "rotate [the knob] 90 degrees",
    "Open your gripper.",
    "insert [the peg] into [the square hole]",
    "screw [the lid] onto [the jar]",
    "hand me [the 10 mm wrench]",
    "give [the boy] [the ball]",
    "Give her [the blue pen]",
    "press [the red button on the panel]",
    "point at [the tallest bottle]",
    "touch [the corner of the book]",
    "pick up [the book under the lamp]",
    "swap [the red tray] and [the blue tray]",
    "pick up [the cup] or [the glass]",
    # Kitchen
    "pour [the milk] into [the glass with the straw]",
    "pour [water] from [the jug] into [a glass]",
    "wipe [the table with the sponge]",
    "Take [the carton of milk] out of [the fridge].",
    "put [the dirty plates] in [the dishwasher]",
    "set [a glass of water] down on [the counter]",
    "Could you please bring me [the cup on the counter]?",
    "hang [the towel] on [the hook]",
    "throw [the banana peel] in [the trash can]",
    "empty [the bin]",
    "squeeze [half a lemon]",
    "Turn on [the lamp on the desk].",
    "turn [the light] off",
    "get [two eggs] from [the box in the fridge]",
    "add [sugar] to [the coffee]",
    "open [the cupboard to the right of the oven]",
    "close [the top drawer], please",
    "put [the spoon] back in [the drawer]",
    "remove [the lid] and place it beside [the pot]",
    "cut [the 1.5 kg loaf of bread]",
    # Mobile robots
    "go to [the kitchen]",
    "drive to [the charging station next to the elevator]",
    "navigate to [the blue door] and stop in front of [the desk]",
    "follow [the person wearing a red hat]",
    "follow [the man who is carrying the umbrella]",
    "Stop!",
    "turn left",
    "go back",
    "Move forward two meters.",
    "approach [the pallet between the two shelves]",
    "look for [a fire extinguisher]",
    "drive around [the table] to [the window]",
    "don't touch [the vase]",
    "wait for [the person in the wheelchair]",
    "inspect [the valve above the pump]",
    "go get [my keys] from [the hallway]",
    # Warehouse
    "pick [the box labeled fragile] from [shelf A] and drop it in [bin 3]",
    "bring [the second tote from the left] to [the packing station]",
    "place [each package] on [the conveyor belt]",
    "sort [the screws] into [the three bins]",
    "scan [the barcode on the parcel]",
    "deliver [this parcel] to [room 12]",
    "Take [all the empty pallets] to [the loading dock].",
    "put those next to [the forklift]",
    "collect [every bolt that is on the floor]",
    # Several sentences, and talk
    "Pick up [the sponge]. Then wipe [the stove]. Put it back in [the sink]!",
    "Hey robot, go to [the table]. Can you see [a green bottle]?",
    "Okay robot, now pick [the ripe tomato], wash it, and put it on [the cutting board].",
    "I want you to hold [the cup] and carry it to [the patient].",
    # Questions
    "where is [the remote control]?",
    "Is there [a bottle under the chair]?",
    "would you hand me [one of the towels]?",
    # Expressions
    "[the red mug on the table]",
    "[a bowl left of the can].",
    "[person wearing a hat]",
    "[Mug]",
    "[stop sign]",
    "[set of bowls]",
    "[press next to the drill]",
    "[the can you see on the left]",
    # Lists
    "[the mug]; [a blue box]; [scissors on the table]",
    " [put it there];;[pick up the ball.] ; ",
]
# Where a parse says otherwise.
PARSED = {
    "place [the yellow cube] between [the red cube and the green cube]": (
        "place [the yellow cube] between [the red cube] and [the green cube]"
    ),
    "wipe [the table with the sponge]": "wipe [the table] with [the sponge]",
    "would you hand me [one of the towels]?": "would you hand me one of [the towels]?",
}

DOCS = Path(__file__).parents[1] / "data" / "command_docs.txt"
needs_spacy = pytest.mark.extra("spacy", "spacy")
# The part of speech that follows from the label; a noun from any other.
POS = {
    label: pos
    for pos, labels in {
        "VERB": ("ROOT", "conj", "relcl", "acl", "ccomp", "xcomp"),
        "ADP": ("prep", "prt"),
        "DET": ("det", "predet"),
        "ADV": ("advmod", "neg"),
        "ADJ": ("amod",),
        "AUX": ("aux",),
        "CCONJ": ("cc",),
        "INTJ": ("intj",),
        "NUM": ("nummod",),
        "PRON": ("poss",),
        "PUNCT": ("punct",),
    }.items()
    for label in labels
}


@cache
def vocabulary():
    import spacy

    return spacy.blank("en").vocab


def doc_of(text, line):
    """The Doc that a line of command_docs.txt writes, with the spaces of the text."""
    from spacy.tokens import Doc

    tokens = [token.split("/") for token in line.split()]
    words = [word for word, *_ in tokens]
    spaces, end = [], 0
    for word in words:
        end = text.index(word, end) + len(word)
        spaces.append(text[end : end + 1] == " ")
    return Doc(
        vocabulary(),
        words=words,
        spaces=spaces,
        heads=[head_of(i, token, words) for i, token in enumerate(tokens)],
        deps=[token[1] for token in tokens],
        pos=[token[3] if len(token) > 3 else POS.get(token[1], "NOUN") for token in tokens],
    )


def head_of(i, token, words):
    if token[1] == "ROOT":
        return i
    head, _, nth = token[2].partition(":")
    places = [place for place, word in enumerate(words) if word == head and place != i]
    return places[int(nth) - 1] if nth else min(places, key=lambda place: (abs(place - i), -place))


def docs():
    lines = [line for line in DOCS.read_text().splitlines() if not line.startswith("#")]
    texts = [parse_markdown(command).text for command in COMMANDS]
    return {text: doc_of(text, line) for text, line in zip(texts, lines, strict=True)}


@needs_spacy
def test_there_are_a_hundred_commands_and_a_parse_of_each():
    assert len(set(COMMANDS)) == 100
    assert set(PARSED) <= set(COMMANDS)
    assert all(doc.text == text for text, doc in docs().items() if ";" not in text)


@pytest.mark.parametrize("command", COMMANDS)
def test_what_the_rule_locates(command):
    assert write_markdown(split_command(parse_markdown(command).text)) == command


@needs_spacy
@pytest.mark.parametrize("command", COMMANDS)
def test_what_the_parse_locates(command):
    assert write_markdown(SpacySplitter(docs().__getitem__)(parse_markdown(command).text)) == PARSED.get(
        command, command
    )


@pytest.mark.parametrize(
    "command",
    [
        "take [the second mug from the right]",
        "pick up [the mug on the far left]",
        "take [the object farthest from the camera] and slide it to the far right",
        "put [the cube on the far right] into [the bowl]",
        "pick up [the one next to the box] and [everything on the tray]",
        "pick up this one, the left one and both",
        "raise your left arm and move the gripper to the front",
        "put [the mug] in front of you and step back",
        "press [the off switch] on",
        "drop it in your basket",
        "put [the mug that is on the table] down",
        "go to the left, then turn right at [the corner]",
        "turn to [the person on your left]",
        "take [the bottom left drawer] out",
        "put [the bolts] in [bin A] and [the nuts] in [bin B]",
        "put [the cube] between [the red and the blue cube] and [the cone] on [the mat]",
        "pick up [the cup closest to the edge of the table]",
        "use the gripper to open [the drawer]",
        "take hold of [the handle]",
        "[stack of plates]",
        "[slice of bread]",
        "[can opener]",
        "[robot arm]",
        "[the big, red ball]?",
        "[Lege die Tasse auf den Tisch]",
        "",
        " \n",
        " ?",
        ";; ;",
    ],
)
def test_further_cases_of_the_rule(command):
    assert write_markdown(split_command(parse_markdown(command).text)) == command


@needs_spacy
def test_a_pipeline_without_a_parser_is_said():
    import spacy

    with pytest.raises(InputError, match="en_core_web_sm"):
        SpacySplitter(spacy.blank("en"))("pick up the mug")


@needs_spacy
def test_a_text_without_a_word_has_no_phrase_for_a_parser_either():
    import spacy

    assert SpacySplitter(spacy.blank("en"))("") == GroundedText("")


@needs_spacy
def test_punctuation_is_in_no_span_of_a_parse():
    text = 'take "the mug" - "'
    line = 'take/ROOT "/punct/mug the/det/mug mug/dobj/take "/punct/mug -/dobj/take "/pobj/-'
    assert write_markdown(SpacySplitter(lambda text: doc_of(text, line))(text)) == 'take "[the mug]" - "'


WORDS = (
    "pick put up on left of to the A a red mug that is it and between next from can you two 90 cm , . - ; “ ("
)
SPOKEN = st.lists(st.sampled_from([*WORDS.split(), "\n"]), max_size=30).map(" ".join)


@given(st.text() | SPOKEN | st.text("pu ;.t\u2028\x1c\u0301²İ"))
def test_any_text_is_split_into_spans_without_edges(text):
    grounded = split_command(text)  # which refuses spans that are empty, overlap or leave the text
    assert grounded.text == text
    for phrase in grounded.phrases:
        assert grounded.words_of(phrase) == grounded.words_of(phrase).strip()
        assert phrase.boxes is None


@pytest.mark.parametrize(
    "unit",
    ["grab the mug on ", "put a between ", "to the left side ", "x", " ", "1.", "a'", "\n", ";a", "that is "],
)
def test_a_megabyte_is_split_like_any_text(unit):
    """Quadratic time would take minutes."""
    text = "put the " + unit * (1_000_000 // len(unit))
    assert split_command(text).text == text
