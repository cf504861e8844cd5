"""Answers about images, printed as a table or as JSON, and pictures of them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from kosmos2_cli.image_sources import IMAGE_SUFFIXES, find_images, is_url, read_images
from kosmos2_cli.options import load_model, make_decoding
from kosmos2_core.answers import Answer, Entity
from kosmos2_core.drawing import draw
from kosmos2_core.errors import InputError
from kosmos2_core.images import Pixels, save_image
from kosmos2_core.requests import GenerationRequest, Locate

# Makes the request about an image of this width and height.
RequestMaker = Callable[[int, int], Locate | GenerationRequest]


def answer_images(
    arguments: argparse.Namespace, make_request: RequestMaker, show_missing: bool = False
) -> None:
    """Ask about each image of the command line, print the answers and save pictures.

    Args:
        arguments: parsed options of `add_images`, `add_model` and perhaps `add_decoding`.
        make_request: makes the request for an image.
        show_missing: print and draw which phrases were not found.
    """
    _, total = find_images(arguments.images, arguments.every)
    pictures = PictureFiles(arguments.save, many=total != 1)
    images = read_images(arguments.images, arguments.every)
    decoding = make_decoding(arguments)
    engine = load_model(arguments)
    for name, pixels in images:
        height, width = pixels.shape[:2]
        [answer] = engine.look(pixels).run(make_request(width, height), decoding=decoding)
        if arguments.json:
            head = {"image": name, "width": width, "height": height}
            tqdm.write(json.dumps(head | answer.to_dict(width, height), ensure_ascii=False))
        else:
            tqdm.write(format_answer(name if total != 1 else "", answer, width, height, show_missing))
        pictures.save(name, pixels, answer, show_missing)


def format_answer(name: str, answer: Answer, width: int, height: int, show_missing: bool) -> str:
    """Return the generated text, then one line per box with its score and its edges in pixels."""
    lines = [f"{name}:"] if name else []
    if not show_missing:
        lines.append(answer.text + ("" if answer.finished else " ..."))
    column = max((len(entity.phrase) for entity in answer.phrases), default=0)
    for entity in answer.phrases:
        lines += [f"  {entity.phrase:<{column}}  {row}" for row in _rows(entity, width, height, show_missing)]
    return "\n".join(lines)


def _rows(entity: Entity, width: int, height: int, show_missing: bool) -> list[str]:
    if not entity.boxes:
        return [f"not found (presence {entity.presence or 0:.2f})"] if show_missing else []
    rows = []
    for box in entity.boxes:
        x1, y1, x2, y2 = map(round, box.pixels(width, height))
        score = "" if box.score is None else f"{box.score:.2f}  "
        rows.append(f"{score}x {x1:>4} to {x2:>4}, y {y1:>4} to {y2:>4}")
    return rows


class PictureFiles:
    """Writes annotated images: one to a file, or several into a folder.

    Args:
        path: what `--save` names; None writes nothing.
        many: there is more than one image.

    Raises:
        InputError: the path does not fit the number of images, or the folder cannot be made.
    """

    def __init__(self, path: str | None, many: bool) -> None:
        self.path = Path(path) if path else None
        self.written: set[Path] = set()
        if self.path is None:
            return
        is_file = self.path.suffix.lower() in IMAGE_SUFFIXES
        if many and is_file:
            raise InputError(f"--save {path} is a file, but there are several images: name a folder.")
        if not many and not is_file and not self.path.is_dir():
            suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
            raise InputError(f"--save {path} must end with {suffixes}, or be an existing folder.")
        folder = self.path if many or self.path.is_dir() else self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--save {path}: cannot make the folder {folder} ({error.strerror}).") from None

    def save(self, name: str, pixels: Pixels, answer: Answer, show_missing: bool) -> None:
        """Draw the answer on the image and write it."""
        if self.path is None:
            return
        file = self._file_in_folder(name) if self.path.is_dir() else self.path
        save_image(draw(pixels, answer.phrases, show_missing), file)

    def _file_in_folder(self, name: str) -> Path:
        """Return a new file for an image; images of the same name from two folders get two files."""
        assert self.path is not None
        base, number = Path(urlsplit(name).path if is_url(name) else name.replace("#", "-")), 1
        stem = (base.stem if base.suffix.lower() in IMAGE_SUFFIXES else base.name) or "image"
        file = self.path / f"{stem}.png"
        while file in self.written:
            number += 1
            file = self.path / f"{stem}-{number}.png"
        self.written.add(file)
        return file
