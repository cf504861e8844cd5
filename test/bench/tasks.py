"""The work that `core.py` gives to all contenders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PHRASES = ["a mug", "the red bowl", "a can", "the table", "an old box", "a plate", "the left cup", "a bottle"]
# Number of first corners of a phrase in the tasks with several images. The shipped model needs about as many
# on average: see the last row of the table that `python test/bench/corners.py` prints.
MEAN_CORNERS = 4
MAX_CORNERS = 16  # the default limit of Locate
CAMERAS = 4
FRAMES = 4  # of a stream in a row
CAPTION_TOKENS = 32
BOX_TOKENS = 3  # <object>, two corners


@dataclass(frozen=True)
class Task:
    """Work for a contender.

    Args:
        title: Name of the row in the table.
        images: Number of images in one batch.
        phrases: Number of phrases to find in each image; 0: a caption.
        corners: Number of first corners that a search tries, see `Locate.max_corners`.
        tokens: Number of tokens of a caption.
        frames: Number of new images that follow each other; the time counts per image.
    """

    title: str
    images: int = 1
    phrases: int = 1
    corners: int = MEAN_CORNERS
    tokens: int = 0
    frames: int = 1

    @property
    def work(self) -> str:
        """Name of the work without the search: a contender that does not search does it once."""
        return f"{self.images} images, {self.phrases} phrases, {self.tokens} tokens, {self.frames} frames"


def phrase_tasks(phrases: int) -> list[Task]:
    """Return the rows of a number of phrases, one row for each number of first corners."""
    count = "1 phrase" if phrases == 1 else f"{phrases} phrases"
    return [
        Task(f"{count}, {corners} first corner{'s' * (corners > 1)}", phrases=phrases, corners=corners)
        for corners in (1, MEAN_CORNERS, MAX_CORNERS)
    ]


FIRST_TOKEN = Task("first token of a caption", phrases=0, tokens=1)
CAPTION = Task(f"caption of {CAPTION_TOKENS} tokens", phrases=0, tokens=CAPTION_TOKENS)
CAMERAS_TASK = Task(f"1 phrase on {CAMERAS} cameras, in one batch", images=CAMERAS)
STREAM = Task("stream: 1 phrase, each frame", frames=FRAMES)
TASKS = [*phrase_tasks(1), *phrase_tasks(len(PHRASES)), CAMERAS_TASK, STREAM, FIRST_TOKEN, CAPTION]


def make_image(seed: int) -> NDArray[np.uint8]:
    """Return a camera image of noise."""
    return np.random.default_rng(seed).integers(0, 256, (480, 640, 3), dtype=np.uint8)
