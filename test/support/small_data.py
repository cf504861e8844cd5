"""Grounded data as a user has it: a folder of a few images with things in them, and every way to break it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kosmos2_core.boxes import Box, box_of_pixels
from kosmos2_core.grounded_text import GroundedText, Phrase, parse_markdown
from kosmos2_data.records import Item, Record, Truth, to_json

WIDTH, HEIGHT = 96, 64
# The settings of a training on it, of a few seconds.
SMALL_TRAINING: dict[str, Any] = {
    "run": "run",
    "data": [{"path": "data"}],
    "seed": 3,
    "steps": 6,
    "batch": 4,
    "tokens": 80,
    "soft_targets": 0.8,
    "auxiliary": 0.5,
    "workers": 0,
    "precision": "float32",
    "model": {
        "words": 100,
        "latent_query_num": 16,
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 56,
        },
        "text_config": {"embed_dim": 32, "ffn_dim": 64, "layers": 2, "attention_heads": 2},
    },
    "optimiser": {"learning_rate": 2e-3, "warmup": 2},
    "evaluate": {"data": "data", "every": 3, "images": 4},
    "checkpoints": {"every": 2, "keep": 2},
}
COLOURS = {"red": (200, 40, 40), "green": (40, 170, 60), "blue": (50, 70, 200), "yellow": (220, 210, 50)}


def pixel_box(mask: np.ndarray, mark: int) -> Box:
    """The box around a mark's pixels."""
    rows, columns = np.nonzero(mask == mark)
    height, width = mask.shape
    return box_of_pixels(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, width, height)


def marked(words: str, box: Box) -> GroundedText:
    return GroundedText(words, (Phrase(0, len(words), (box,)),))


def scene(rng: np.random.Generator, name: str = "0") -> tuple[np.ndarray, np.ndarray, Record]:
    """Coloured ellipses that do not touch, each with an expression and all with a count."""
    image = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    ys, xs = np.mgrid[:HEIGHT, :WIDTH]
    things = []
    for mark, (colour, rgb) in enumerate(COLOURS.items(), 1):
        x, y = rng.integers(WIDTH), rng.integers(HEIGHT)
        inside = ((xs - x) / rng.uniform(5, 20)) ** 2 + ((ys - y) / rng.uniform(5, 16)) ** 2 <= 1
        if mask[inside].any():
            continue
        image[inside], mask[inside] = rgb, mark
        things.append(Truth(mark, (colour, "disc"), pixel_box(mask, mark)))
    located = [Item("locate", marked(f"the {thing.names[0]} disc", thing.box)) for thing in things]
    count = Item(
        "ask", parse_markdown(str(len(things))), parse_markdown("How many discs are there?"), kind="count"
    )
    return image, mask, Record(f"images/{name}.png", (*located, count), f"masks/{name}.png", tuple(things))


def write_data(folder: Path, count: int = 4) -> list[Record]:
    """A folder of data; its records."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    records = []
    for number in range(count):
        image, mask, record = scene(np.random.default_rng(number), str(number))
        Image.fromarray(image).save(folder / record.image)
        Image.fromarray(mask).save(folder / str(record.mask))
        records.append(record)
    (folder / "records.jsonl").write_text("".join(to_json(record) + "\n" for record in records))
    return records


def line(record: dict[str, Any] | None = None, /, **item: Any) -> str:
    """A good line, with some fields of the record, or of its one item, as they should not be; `...` takes a
    field away."""
    items = {"task": "locate", "text": "[the mug](0.1,0.2,0.3,0.4)"} | item
    fields = {"image": "images/0.png", "items": [items]} | (record or {})
    fields["items"] = fields["items"] if record and "items" in record else [_without_gaps(items)]
    return json.dumps(_without_gaps(fields))


def truth(**fields: Any) -> str:
    one = {"mark": 1, "names": ["red", "mug"], "box": [0.1, 0.2, 0.3, 0.4]} | fields
    return line({"mask": "masks/0.png", "truths": [_without_gaps(one)]})


def _without_gaps(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not ...}


# What a line may have wrong in itself, and words of the sentence that says so.
BROKEN_LINES: dict[str, tuple[str, str]] = {
    "not JSON": ("{'image': 'a.png'}", "not JSON"),
    "cut off": (line()[:40], "not JSON"),
    "two objects": (line() + line(), "not JSON: Extra data"),
    "NaN": (truth(box=[0.1, 0.2, 0.3, float("nan")]), "NaN is not a JSON number"),
    "a huge number": ('{"image": ' + "9" * 5000 + "}", "not JSON"),
    "nested too deep": ("[" * 100_000, "too deep"),
    "no object": ("[1, 2]", "not a JSON object"),
    "no image": (line({"image": ...}), "no image"),
    "image no text": (line({"image": 12}), "the image 12: give a text"),
    "image empty": (line({"image": " "}), "empty image"),
    "absolute path": (line({"image": "/etc/passwd"}), "leaves the data"),
    "path upwards": (line({"image": "images/../../0.png"}), "leaves the data"),
    "path of Windows": (line({"image": "images\\0.png"}), "separate names with /"),
    "path with a zero": (line({"image": "images/\0.png"}), "not a path"),
    "mask no text": (line({"mask": 3}), "the mask 3"),
    "mask upwards": (line({"mask": "../0.png"}), "leaves the data"),
    "no items": (line({"items": ...}), "no items"),
    "items empty": (line({"items": []}), "items is empty"),
    "items no list": (line({"items": {"task": "text"}}), "give a list"),
    "item no object": (line({"items": ["the mug"]}), "item 1 is not a JSON object"),
    "unknown field": (line({"imgae": "0.png"}), "did you mean image?"),
    "unknown field of an item": (line(taks="ask"), "did you mean task?"),
    "unknown field like none": (line(zzz=1), "known fields are detailed, kind, question, task, text"),
    "no task": (line(task=...), "item 1 has no task"),
    "unknown task": (line(task="find"), "the task find: tasks are locate"),
    "task no text": (line(task=["ask"]), "give a text"),
    "no text": (line(text=...), "no text"),
    "text no text": (line(text=5), "the text 5: give a text"),
    "text empty": (line(text="  "), "empty text"),
    "half a character": (line(text="[the \ud83d mug]()"), "half a surrogate pair"),
    "kind no text": (line(kind=3), "the kind 3"),
    "box backwards": (line(text="[the mug](0.5,0.2,0.3,0.4)"), "x1 < x2"),
    "box in pixels": (line(text="[the mug](10,20,30,40)"), "<= 1"),
    "box of NaN": (line(text="[the mug](nan,0.2,0.3,0.4)"), "four numbers"),
    "box of three": (line(text="[the mug](0.1,0.2,0.3)"), "four numbers"),
    "box of nothing": (line(text="a [](0.1,0.2,0.3,0.4)"), "a phrase has words"),
    "box of a blank": (line(text="a [ ](0.1,0.2,0.3,0.4)"), "phrase without words"),
    "box of words and three": (line(text="[a](0,0,1,1) [b](0.1, 0.2,\n0.3)"), "[b](0.1, 0.2,?0.3)"),
    "two boxes with a comma": (line(text="[a](0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8)"), "four numbers"),
    "locate without a phrase": (line(text="the mug"), "marks no phrase"),
    "locate without a box": (line(text="put [the mug] there"), "[the mug] without a box"),
    "describe two": (
        line(task="describe", text="[a](0,0,1,1) [b](0,0,1,1)"),
        "must be one phrase with one box",
    ),
    "describe two boxes": (line(task="describe", text="[a](0,0,1,1;0,0,0.5,1)"), "must be one phrase"),
    "describe nothing": (line(task="describe", text="a mug"), "must be one phrase with one box"),
    "caption of what is absent": (
        line(task="caption", text="[a mug]() on a table"),
        "only `locate` may name an absent",
    ),
    "ask without a question": (line(task="ask", text="red"), "no question"),
    "question empty": (line(task="ask", text="red", question=""), "empty question"),
    "question no text": (line(task="ask", text="red", question=None), "the question null"),
    "region absent": (line(task="ask", text="red", question="what is [this]()?"), "region"),
    "question of another task": (line(question="where?"), "only `ask` has one"),
    "detailed no bool": (line(task="caption", text="a mug", detailed="yes"), "detailed yes"),
    "detailed elsewhere": (line(detailed=True), "only `caption` has it"),
    "control token": (line(text="<phrase>the mug</phrase>"), "control token <phrase>"),
    "location token": (line(text="[the mug]() <patch_index_0001>"), "control token <patch_index_0001>"),
    "truth no object": (line({"mask": "masks/0.png", "truths": [1]}), "truth 1 is not a JSON object"),
    "truth without names": (truth(names=...), "no names"),
    "truth of no name": (truth(names=[]), "the names []"),
    "truth marked nothing": (truth(mark=0), "the mark 0"),
    "truth marked true": (truth(mark=True), "the mark true"),
    "truth's box a text": (truth(box="0.1,0.2,0.3,0.4"), "give a list"),
    "truth's box of three": (truth(box=[0.1, 0.2, 0.3]), "four numbers"),
    "truth's box backwards": (truth(box=[0.3, 0.2, 0.1, 0.4]), "x1 < x2"),
    "truth's box beyond a float": (truth(box=[0, 0, 1, 10**400]), "truth 1"),
    "truths without a mask": (line({"truths": json.loads(truth())["truths"]}), "but no mask"),
    "two of one mark": (
        line({"mask": "masks/0.png", "truths": json.loads(truth())["truths"] * 2}),
        "same mark",
    ),
}
