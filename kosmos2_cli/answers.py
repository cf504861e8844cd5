"""One request about each image: answers as a table or as JSON, and pictures of them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from kosmos2_cli.images import IMAGES, each_frame, find_frames
from kosmos2_cli.options import decoding_of, load_engine
from kosmos2_core.answers import Answer, Entity
from kosmos2_core.drawing import draw
from kosmos2_core.errors import InputError
from kosmos2_core.images import Pixels
from kosmos2_core.requests import GenerationRequest, Locate

RequestOf = Callable[[int, int], Locate | GenerationRequest]  # of an image of this width and height


def answer_images(arguments: argparse.Namespace, request_of: RequestOf, missing: bool = False) -> None:
    """Ask about each image of the command line. missing: say which phrases were not found."""
    _, total = find_frames(arguments.images, arguments.every)
    pictures = Pictures(arguments.save, many=total != 1)
    decoding = decoding_of(arguments)
    engine = load_engine(arguments)
    for name, pixels in each_frame(arguments.images, arguments.every):
        height, width = pixels.shape[:2]
        [answer] = engine.look(pixels).run(request_of(width, height), decoding=decoding)
        if arguments.json:
            about = {"image": name, "width": width, "height": height}
            tqdm.write(json.dumps(about | answer.to_dict(width, height), ensure_ascii=False))
        else:
            tqdm.write(table(name if total != 1 else "", answer, width, height, missing))
        pictures.save(name, pixels, answer, missing)


def table(name: str, answer: Answer, width: int, height: int, missing: bool) -> str:
    """For people: the text, then a line for each box, in pixels."""
    lines = [f"{name}:"] if name else []
    if not missing:
        lines.append(answer.text + ("" if answer.finished else " ..."))
    wide = max((len(one.phrase) for one in answer.phrases), default=0)
    for one in answer.phrases:
        lines += [f"  {one.phrase:<{wide}}  {row}" for row in _rows(one, width, height, missing)]
    return "\n".join(lines)


def _rows(one: Entity, width: int, height: int, missing: bool) -> list[str]:
    if not one.boxes:
        return [f"not found (presence {one.presence or 0:.2f})"] if missing else []
    rows = []
    for box in one.boxes:
        x1, y1, x2, y2 = map(round, box.pixels(width, height))
        score = "" if box.score is None else f"{box.score:.2f}  "
        rows.append(f"{score}x {x1:>4} to {x2:>4}, y {y1:>4} to {y2:>4}")
    return rows


class Pictures:
    """Writes the annotated images: to one file, or, of many images, into a folder."""

    def __init__(self, path: str | None, many: bool) -> None:
        self.path, self.many = Path(path) if path else None, many
        self.written: set[Path] = set()
        if self.path is None:
            return
        is_file = self.path.suffix.lower() in IMAGES
        if many and is_file:
            raise InputError(f"--save {path} is one file, and there are many images: name a folder.")
        if not many and not is_file and not self.path.is_dir():
            raise InputError(f"--save {path} must end with {', '.join(sorted(IMAGES))}, or be a folder.")
        folder = self.path if many or self.path.is_dir() else self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--save {path}: {folder} cannot be made ({error.strerror}).") from None

    def save(self, name: str, pixels: Pixels, answer: Answer, missing: bool) -> None:
        if self.path is None:
            return
        file = self._file(name) if self.path.is_dir() else self.path
        try:
            Image.fromarray(draw(pixels, answer.phrases, missing)).save(file)
        except OSError as error:
            raise InputError(f"{file} cannot be written: {error.strerror or error}.") from None

    def _file(self, name: str) -> Path:
        """A file for a frame; images of one name in two folders get two."""
        assert self.path is not None
        base, number = Path(name.replace("#", "-")), 1
        stem = base.stem if base.suffix.lower() in IMAGES else base.name
        file = self.path / f"{stem}.png"
        while file in self.written:
            number += 1
            file = self.path / f"{stem}-{number}.png"
        self.written.add(file)
        return file
