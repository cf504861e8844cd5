r"""The record format of grounded data: one JSON line per image. docs/data.md describes it in full.

    {"image": "images/000012.jpg", "items": [
        {"task": "locate", "text": "put [the red mug](0.1,0.2,0.3,0.4) into [the bowl](0.5,0.4,0.8,0.7)"},
        {"task": "locate", "text": "[the banana]()", "kind": "absent"},
        {"task": "caption", "text": "[a red mug](0.1,0.2,0.3,0.4) and [a bowl](0.5,0.4,0.8,0.7)"},
        {"task": "describe", "text": "[a red mug](0.1,0.2,0.3,0.4)"},
        {"task": "ask", "question": "What colour is the mug?", "text": "red"}],
     "mask": "masks/000012.png", "truths": [{"mark": 1, "names": ["red", "mug"], "box": [0.1,0.2,0.3,0.4]}]}

All text is grounded Markdown with boxes in unit coordinates of the image. `record_of` parses a line and
refuses whatever would teach a model nothing or something wrong. Images are read by `RecordSource`.
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
    """One task on an image, with its answer.

    Args:
        task: One of TASKS.
        text: The answer that a model learns. For `locate` the words are given and only the boxes are learnt.
        question: The question of `ask`; a region is a box at its words.
        detailed: A `caption` in detail.
        kind: Any name, such as `relation`: evaluation reports each kind separately.
    """

    task: str
    text: GroundedText
    question: GroundedText | None = None
    detailed: bool = False
    kind: str = ""


@dataclass(frozen=True)
class Truth:
    """An object whose pixels are known.

    Args:
        mark: Its value in the mask of the record, 1 to 255.
        names: Its names in a fixed order, such as (colour, shape).
        box: Its box.
    """

    mark: int
    names: tuple[str, ...]
    box: Box


@dataclass(frozen=True)
class Record:
    """An image and its items.

    Args:
        image: Path of the image from the data's folder, or of a member of a tar file in it.
        items: At least one.
        mask: Path of a PNG that gives the mark of the object at each pixel, 0 for none.
        truths: The objects in the mask.
    """

    image: str
    items: tuple[Item, ...]
    mask: str | None = None
    truths: tuple[Truth, ...] = ()


def record_of(line: str) -> Record:
    """Parse a line of grounded data.

    Raises:
        InputError: Something is wrong with it; one sentence says what.
    """
    try:
        value = json.loads(line, parse_constant=_refuse_constant)
    except RecursionError:
        raise InputError("the line is not JSON that can be read: it is nested too deep.") from None
    except json.JSONDecodeError as error:
        raise InputError(f"the line is not JSON: {error.msg}, at character {error.colno}.") from None
    except ValueError as error:
        raise InputError(f"the line is not JSON: {error}.") from None
    fields = _fields(value, "the record", {"image", "items", "mask", "truths"}, {"image", "items"})
    items = tuple(_item(item, f"item {i}") for i, item in enumerate(_list(fields, "items", "the record"), 1))
    if not items:
        raise InputError("items is empty: give the image at least one item.")
    values = _list(fields, "truths", "the record") if "truths" in fields else []
    truths = tuple(_truth(value, f"truth {i}") for i, value in enumerate(values, 1))
    mask = _path(fields, "mask") if "mask" in fields else None
    if truths and mask is None:
        raise InputError("there are truths but no mask: the mark of a truth is its value in the mask.")
    if len({truth.mark for truth in truths}) < len(truths):
        raise InputError("two truths have the same mark: give each object a different value in the mask.")
    return Record(_path(fields, "image"), items, mask, truths)


def to_json(record: Record) -> str:
    """Return a record as one line without its line end. Fields that have their default are left out."""
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
    """Return a phrase in the form that is compared: lower case, no punctuation, no leading article."""
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
        raise InputError(f"{where} has a question: only `ask` has one.")
    detailed = fields.get("detailed", False)
    if not isinstance(detailed, bool) or (detailed and task != "caption"):
        raise InputError(
            f"{where} has detailed {_short(detailed)}: it is true or false, and only `caption` has it."
        )
    _check_phrases(task, text, where)
    if question is not None and not all(phrase.boxes for phrase in question.phrases):
        raise InputError(f"{where} has a region with `()`: give the box of each region in a question.")
    return Item(task, text, question, detailed, _text(fields, "kind", where) if "kind" in fields else "")


def _check_phrases(task: str, text: GroundedText, where: str) -> None:
    boxes = [phrase.boxes or () for phrase in text.phrases]
    if task == "locate" and not boxes:
        raise InputError(
            f"{where} marks no phrase: write `[the mug](x1,y1,x2,y2)`, or `[the mug]()` if it is absent."
        )
    if task == "describe" and [len(of_phrase) for of_phrase in boxes] != [1]:
        raise InputError(f"{where} must be one phrase with one box, as in `[a red mug](x1,y1,x2,y2)`.")
    if task != "locate" and not all(boxes):
        raise InputError(f"{where} has a phrase with `()`: only `locate` may name an absent object.")


def _truth(value: Any, where: str) -> Truth:
    fields = _fields(value, where, {"mark", "names", "box"}, {"mark", "names", "box"})
    mark = fields["mark"]
    if type(mark) is not int or not 1 <= mark <= 255:
        raise InputError(f"{where} has the mark {_short(mark)}: a mark is a whole number from 1 to 255.")
    names = _list(fields, "names", where)
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise InputError(f'{where} has the names {_short(names)}: names are texts, as in ["red", "mug"].')
    box = _list(fields, "box", where)
    if len(box) != 4 or not all(type(number) in (int, float) for number in box):
        raise InputError(f"{where} has the box {_short(box)}: a box is four numbers, [x1,y1,x2,y2].")
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
    for match in _LIKE_BOXES.finditer(_ESCAPED.sub("x", markdown)):
        if not parse_markdown(match[0]).phrases:  # plain text by the rules, but nobody writes so on purpose
            raise InputError(
                f"{where} has {_short(match[0])} in its {name}: a phrase has words, and a box four numbers,"
                " `[the mug](x1,y1,x2,y2)`."
            )
    for phrase in grounded.phrases:
        words = grounded.words_of(phrase)
        if not words.strip():
            raise InputError(f"{where} has a phrase without words in its {name}.")
        if phrase.boxes is None:
            raise InputError(
                f"{where} has [{_short(words)}] without a box in its {name}: give its boxes, or `()` if it"
                r" is not in the image, or write `\[` for a plain bracket."
            )
    return grounded


def _path(fields: dict[str, Any], name: str) -> str:
    path = _text(fields, name, "the record")
    if not path.isprintable() or "\\" in path:
        raise InputError(
            f"the {name} {_short(path)} is not a path: separate names with /, without control characters."
        )
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.name:
        raise InputError(f"the {name} {_short(path)} leaves the data's folder: give its path from there.")
    return path


def _fields(value: Any, where: str, known: Collection[str], needed: Collection[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where} is not a JSON object, but {_short(value)}.")
    for name in value:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known fields are {', '.join(sorted(known))}."
            raise InputError(f"{where} has the unknown field {_short(name)}: {hint}")
    if missing := sorted(set(needed) - set(value)):
        raise InputError(f"{where} has no {missing[0]}: it needs {' and '.join(sorted(needed))}.")
    return value


def _text(fields: dict[str, Any], name: str, where: str) -> str:
    text = fields[name]
    if not isinstance(text, str):
        raise InputError(f"{where} has the {name} {_short(text)}: give a text.")
    if not text.strip() and name != "kind":
        raise InputError(f"{where} has an empty {name}.")
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InputError(f"{where} has half a surrogate pair in its {name}: write both halves, or UTF-8.")
    return text


def _list(fields: dict[str, Any], name: str, where: str) -> list[Any]:
    value = fields[name]
    if not isinstance(value, list):
        raise InputError(f"{where} has {name} {_short(value)}: give a list.")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _short(value: Any) -> str:
    """Return a value for an error message: short, without line ends and control characters."""
    text = value if isinstance(value, str) else json.dumps(value)
    text = "".join(letter if letter.isprintable() else "?" for letter in text[:61])
    return text if len(text) <= 60 else f"{text[:60]}..."
