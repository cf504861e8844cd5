"""Example queries that a report shows as images, and the images: read from the recording again, small."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from kosmos2_core.errors import InputError
from kosmos2_eval.bag.queries import PhraseQuery, QueryResult
from kosmos2_io.bag_reader import BagReader
from kosmos2_io.images import to_rgb
from kosmos2_io.stamps import header_ns

EXAMPLES_PER_GROUP = 12
IMAGE_SIDE, JPEG_QUALITY = 480, 80  # px of the longer side
UNLABELLED = "not labelled"


@dataclass(frozen=True)
class ExampleGroup:
    """Some queries of one sort.

    Args:
        title: headline of the group.
        meaning: which queries are in it.
        indices: their positions in the sequence of all results.
    """

    title: str
    meaning: str
    indices: tuple[int, ...]


# Title and meaning of each group, the verdict of its results, and what they are sorted by.
HIGHEST, LOWEST = True, False
GROUPS = (
    ("Wrong with high scores", "wrong boxes with the highest scores", "wrong", "score", HIGHEST),
    ("False alarms", "boxes for absent phrases, highest scores first", "false alarm", "score", HIGHEST),
    ("Lowest overlap", "wrong boxes with the lowest IoU", "wrong", "iou", LOWEST),
    ("Missed", "present phrases without a box, lowest presence first", "missed", "presence", LOWEST),
    ("Right with high scores", "right boxes with the highest scores", "right", "score", HIGHEST),
    ("Barely right", "right boxes with the lowest IoU", "right", "iou", LOWEST),
    (
        *("Correctly rejected", "absent phrases without a box, highest presence first"),
        *("rejected", "presence", HIGHEST),
    ),
    ("Highest scores", "phrases without labels", UNLABELLED, "score", HIGHEST),
    ("Lowest scores", "phrases without labels", UNLABELLED, "score", LOWEST),
)


def example_groups(results: Sequence[QueryResult]) -> list[ExampleGroup]:
    """Return groups of examples: mistakes first, then right answers, then an even sample.

    A mistake is a wrong box, a missed phrase or a false alarm; a rejected absent phrase is a right answer.
    """
    groups = [
        ExampleGroup(title, meaning, _examples(results, verdict, attribute, highest))
        for title, meaning, verdict, attribute, highest in GROUPS
    ]
    step = max(len(results) // EXAMPLES_PER_GROUP, 1)
    sample = tuple(range(0, len(results), step))[:EXAMPLES_PER_GROUP]
    groups.append(ExampleGroup("Even sample", "queries at even distances over the recording", sample))
    return [group for group in groups if group.indices]


def _examples(results: Sequence[QueryResult], verdict: str, attribute: str, highest: bool) -> tuple[int, ...]:
    """Return the indices of the first results with a verdict, with no track twice while there are others.

    Neighbouring images of a track look the same.
    """
    indices = [
        index
        for index, result in enumerate(results)
        if result.verdict == verdict and (result.box or verdict != UNLABELLED)
    ]
    first: list[int] = []
    repeated: list[int] = []
    seen: set[tuple[Any, ...]] = set()
    for index in sorted(indices, key=lambda index: getattr(results[index], attribute), reverse=highest):
        track = results[index].query.track
        (repeated if track in seen else first).append(index)
        seen.add(track)
    return tuple((first + repeated)[:EXAMPLES_PER_GROUP])


def image_urls(bag: BagReader, queries: Iterable[PhraseQuery]) -> dict[int, str]:
    """Return the image of every query as a data URL, by the number of the image."""
    by_frame = {query.frame: query for query in queries}
    return {number: _image_url(bag, by_frame[number]) for number in sorted(by_frame)}


def _image_url(bag: BagReader, query: PhraseQuery) -> str:
    for recorded in bag.messages([query.camera], query.log_ns, query.log_ns):
        try:
            message = recorded.message()
            if (header_ns(message) or recorded.stamp_ns) == query.stamp_ns:
                return _jpeg_url(Image.fromarray(to_rgb(message)))
        except InputError:  # an unreadable image that was recorded at the same time
            continue
    return ""


def _jpeg_url(image: Image.Image) -> str:
    image.thumbnail((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + b64encode(file.getvalue()).decode("ascii")
