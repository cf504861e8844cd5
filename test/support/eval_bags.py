"""Messages of small recordings that a test says itself."""

import numpy as np
from recordings import Said

from kosmos2_core.answers import Answer, Entity
from kosmos2_core.boxes import Box
from kosmos2_core.grounded_text import parse_markdown
from kosmos2_io.answer_messages import AnswerContext, AnswerMessages
from kosmos2_io.message_types import new
from kosmos2_io.messages import Messages

messages = Messages(new)
answers = AnswerMessages(messages)
T0 = 1_700_000_000 * 10**9
STEP = 100_000_000  # ns between images
WIDTH, HEIGHT = 64, 48


def stamp(number):
    return T0 + round(number * STEP)


def image(topic, number=0, frame="eye", shade=90):
    """The camera's nth image."""
    pixels = np.full((HEIGHT, WIDTH, 3), shade, np.uint8)
    return Said(topic, stamp(number), messages.image(messages.header(stamp(number), frame), pixels))


def command(topic, text, number=0.0):
    return Said(topic, stamp(number), messages.string(text))


def answer_of(markdown, score=1.0, presence=None):
    """Grounded Markdown as an answer; of what is absent the presence is 0."""
    said = parse_markdown(markdown)
    entities = [
        Entity(
            said.words_of(one),
            one.start,
            one.end,
            tuple(Box(box.x1, box.y1, box.x2, box.y2, score) for box in one.boxes or ()),
            (1.0 if one.boxes else 0.0) if presence is None else presence,
        )
        for one in said.phrases
    ]
    return Answer(said.text, tuple(entities))


def grounded(topic, markdown, number=0, frame="eye", late=0.0, command_id="1", **said):
    """What was answered about the nth image."""
    context = AnswerContext(
        messages.header(stamp(number), frame), "", command_id, WIDTH, HEIGHT, "/robot/models/mine"
    )
    return Said(topic, stamp(number + late), answers.grounded_frame(context, answer_of(markdown, **said)))


def detections(topic, markdown, number=0, frame="eye"):
    asked = AnswerContext(messages.header(stamp(number), frame), "", "1", WIDTH, HEIGHT, "mine")
    return Said(topic, stamp(number), answers.detections(asked, answer_of(markdown)))
