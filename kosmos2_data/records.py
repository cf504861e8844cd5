r"""Grounded data: an image and what is said of it, one JSON line each. docs/data.md has it in full.

    {"image": "images/000012.jpg", "items": [
        {"task": "locate", "text": "put [the red mug](0.1,0.2,0.3,0.4) into [the bowl](0.5,0.4,0.8,0.7)"},
        {"task": "locate", "text": "[the banana]()", "kind": "absent"},
        {"task": "caption", "text": "[a red mug](0.1,0.2,0.3,0.4) and [a bowl](0.5,0.4,0.8,0.7)"},
        {"task": "describe", "text": "[a red mug](0.1,0.2,0.3,0.4)"},
        {"task": "ask", "question": "What colour is the mug?", "text": "red"}],
     "mask": "masks/000012.png", "truths": [{"mark": 1, "names": ["red", "mug"], "box": [0.1,0.2,0.3,0.4]}]}

All text is grounded Markdown with boxes in unit coordinates of the image. `record_of` reads a line and
refuses what would teach nothing or something wrong; images are looked at elsewhere.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from kosmos2_core.boxes import Box
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import GroundedText, parse_markdown, write_markdown
from kosmos2_core.tokenizer import LOCATION, NAMES

TASKS = ("locate", "caption", "describe", "ask", "text")


@dataclass(frozen=True)
class Item:
    """One thing to say of an image. The text is what is to be learnt; for `locate` its boxes alone."""

    task: str  # of TASKS
    text: GroundedText
    question: GroundedText | None = None  # of `ask`; a region is a box at its words
    detailed: bool = False  # of `caption`
    kind: str = ""  # free: what evaluation tells apart, as `relation`


@dataclass(frozen=True)
class Truth:
    """An object whose pixels are known: its value in the record's mask, and its names."""

    mark: int
    names: tuple[str, ...]  # in a fixed order, as (colour, shape)
    box: Box


@dataclass(frozen=True)
class Record:
    image: str  # a path from the data's folder, or a member of its tar file
    items: tuple[Item, ...]
    mask: str | None = None  # a PNG with each pixel's mark, 0: nothing; found where the image is found
    truths: tuple[Truth, ...] = ()


def record_of(line: str) -> Record:
    """The record that a line says. What is wrong with it is an InputError of one sentence."""
    try:
        value = json.loads(line, parse_constant=_refuse_constant)
    except RecursionError:
        raise InputError("the line is no JSON that can be read: it is nested too deep.") from None
    except json.JSONDecodeError as error:
        raise InputError(f"the line is no JSON: {error.msg}, at character {error.colno}.") from None
    except ValueError as error:
        raise InputError(f"the line is no JSON: {error}.") from None
    fields = _fields(value, "the record", {"image", "items", "mask", "truths"}, {"image", "items"})
    items = tuple(_item(item, f"item {i}") for i, item in enumerate(_list(fields, "items", "the record"), 1))
    if not items:
        raise InputError("items is empty: an image of which nothing is said teaches nothing.")
    given = _list(fields, "truths", "the record") if "truths" in fields else []
    truths = tuple(_truth(truth, f"truth {i}") for i, truth in enumerate(given, 1))
    mask = _path(fields, "mask") if "mask" in fields else None
    if truths and mask is None:
        raise InputError("there are truths and no mask: a truth's mark is its value in the mask.")
    if len({truth.mark for truth in truths}) < len(truths):
        raise InputError("two truths have the same mark: each object has a value of its own in the mask.")
    return Record(_path(fields, "image"), items, mask, truths)


def to_json(record: Record) -> str:
    """One line, without its end, that `record_of` reads as the same; what is left at its default is left
    out."""
    fields: dict[str, Any] = {"image": record.image, "items": [_item_json(item) for item in record.items]}
    if record.mask is not None:
        fields["mask"] = record.mask
    if record.truths:
        fields["truths"] = [
            {"mark": truth.mark, "names": truth.names, "box": truth.box.pixels(1, 1)}
            for truth in record.truths
        ]
    return json.dumps(fields, ensure_ascii=False)


def normalised(text: str) -> str:
    """Words that count as the same: in lower case, without punctuation or a first article."""
    words = re.findall(r"\w+(?:[-']\w+)*", text.lower())
    return " ".join(words[1:] if len(words) > 1 and words[0] in ("a", "an", "the") else words)


def _item_json(item: Item) -> dict[str, Any]:
    fields: dict[str, Any] = {"task": item.task}
    if item.question is not None:
        fields["question"] = write_markdown(item.question)
    fields["text"] = write_markdown(item.text)
    if item.detailed:
        fields["detailed"] = True
    if item.kind:
        fields["kind"] = item.kind
    return fields


def _item(value: Any, where: str) -> Item:
    fields = _fields(value, where, {"task", "text", "question", "detailed", "kind"}, {"task", "text"})
    task = _text(fields, "task", where)
    if task not in TASKS:
        raise InputError(f"{where} has the task {_short(task)}: tasks are {', '.join(TASKS)}.")
    where = f"{where} ({task})"
    text = _grounded(fields, "text", where)
    question = _grounded(fields, "question", where) if "question" in fields else None
    if task == "ask" and question is None:
        raise InputError(f"{where} has no question.")
    if task != "ask" and question is not None:
        raise InputError(f"{where} has a question, which only `ask` has.")
    detailed = fields.get("detailed", False)
    if not isinstance(detailed, bool) or (detailed and task != "caption"):
        raise InputError(f"{where} has detailed {_short(detailed)}: it is true or false, and of `caption`.")
    _check_phrases(task, text, where)
    if question is not None and not all(phrase.boxes for phrase in question.phrases):
        raise InputError(f"{where} has a region with `()`: a region of a question has its box.")
    return Item(task, text, question, detailed, _text(fields, "kind", where) if "kind" in fields else "")


def _check_phrases(task: str, text: GroundedText, where: str) -> None:
    boxes = [phrase.boxes or () for phrase in text.phrases]
    if task == "locate" and not boxes:
        raise InputError(
            f"{where} marks nothing: write `[the mug](x1,y1,x2,y2)`, or `[the mug]()` if absent."
        )
    if task == "describe" and [len(each) for each in boxes] != [1]:
        raise InputError(f"{where} is not one phrase with one box, as in `[a red mug](x1,y1,x2,y2)`.")
    if task != "locate" and not all(boxes):
        raise InputError(f"{where} has a phrase with `()`: what is absent can only be located.")


def _truth(value: Any, where: str) -> Truth:
    fields = _fields(value, where, {"mark", "names", "box"}, {"mark", "names", "box"})
    mark = fields["mark"]
    if type(mark) is not int or not 1 <= mark <= 255:
        raise InputError(f"{where} has the mark {_short(mark)}: it is a whole number from 1 to 255.")
    names = _list(fields, "names", where)
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise InputError(f'{where} has the names {_short(names)}: they are texts, as in ["red", "mug"].')
    box = _list(fields, "box", where)
    if len(box) != 4 or not all(type(number) in (int, float) for number in box):
        raise InputError(f"{where} has the box {_short(box)}: it is four numbers, [x1,y1,x2,y2].")
    try:
        return Truth(mark, tuple(names), Box(*map(float, box)))
    except (InputError, OverflowError) as error:
        raise InputError(f"{where}: {error}") from None


_CONTROL = re.compile("|".join([*map(re.escape, NAMES.values()), LOCATION.pattern]))
_ESCAPED = re.compile(r"\\.", re.DOTALL)
_LIKE_BOXES = re.compile(r"\[[^\[\]]*\]\((?:[-+0-9.,;:\seE]|nan|inf|null|none)*\)", re.IGNORECASE)


def _grounded(fields: dict[str, Any], name: str, where: str) -> GroundedText:
    markdown = _text(fields, name, where)
    if control := _CONTROL.search(markdown):
        raise InputError(
            f"{where} has the control token {control[0]} in its {name}: boxes are written as"
            " `[the mug](x1,y1,x2,y2)`."
        )
    try:
        grounded = parse_markdown(markdown)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    if not grounded.text.strip():
        raise InputError(f"{where} has an empty {name}.")
    for like in _LIKE_BOXES.finditer(_ESCAPED.sub("x", markdown)):
        if not parse_markdown(like[0]).phrases:  # plain text by the rules, but nobody writes so on purpose
            raise InputError(
                f"{where} has {_short(like[0])} in its {name}: a phrase has words, and a box four numbers,"
                " `[the mug](x1,y1,x2,y2)`."
            )
    for phrase in grounded.phrases:
        words = grounded.words_of(phrase)
        if not words.strip():
            raise InputError(f"{where} has a phrase without words in its {name}.")
        if phrase.boxes is None:
            raise InputError(
                f"{where} has [{_short(words)}] without a box in its {name}: give its boxes, or `()` where it"
                r" is not in the image, or write `\[` for a plain bracket."
            )
    return grounded


def _path(fields: dict[str, Any], name: str) -> str:
    path = _text(fields, name, "the record")
    if not path.isprintable() or "\\" in path:
        raise InputError(
            f"the {name} {_short(path)} is no path: names separated by /, without odd characters."
        )
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.name:
        raise InputError(f"the {name} {_short(path)} leaves the data: give its path from the data's folder.")
    return path


def _fields(value: Any, where: str, known: Collection[str], needed: Collection[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where} is no object with fields, but {_short(value)}.")
    for name in value:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}."
            raise InputError(f"{where} has a field {_short(name)} that is not known: {hint}")
    if missing := sorted(set(needed) - set(value)):
        raise InputError(f"{where} has no {missing[0]}: it has at least {' and '.join(sorted(needed))}.")
    return value


def _text(fields: dict[str, Any], name: str, where: str) -> str:
    text = fields[name]
    if not isinstance(text, str):
        raise InputError(f"{where} has the {name} {_short(text)}: it is a text.")
    if not text.strip() and name != "kind":
        raise InputError(f"{where} has an empty {name}.")
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InputError(f"{where} has half a character in its {name}: write it as UTF-8, or as both halves.")
    return text


def _list(fields: dict[str, Any], name: str, where: str) -> list[Any]:
    value = fields[name]
    if not isinstance(value, list):
        raise InputError(f"{where} has {name} {_short(value)}: it is a list.")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _short(value: Any) -> str:
    """What a person is shown of it: never long, no line ends, nothing that moves a terminal."""
    text = value if isinstance(value, str) else json.dumps(value)
    text = "".join(letter if letter.isprintable() else "?" for letter in text[:61])
    return text if len(text) <= 60 else f"{text[:60]}..."
