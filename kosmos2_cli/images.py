"""Images one after the other, from files, folders, patterns, videos and cameras."""

from __future__ import annotations

import glob
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from kosmos2_core.errors import InputError
from kosmos2_core.images import Pixels, load_image

IMAGES = {".png", ".jpg", ".jpeg", ".webp"}
VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"}


@dataclass(frozen=True)
class Frame:
    name: str  # for people, and for the file of its picture
    load: Callable[[], Pixels]


def find_frames(sources: Sequence[str], every: int = 1) -> tuple[Iterator[Frame], int | None]:
    """The frames of all sources, and how many there are; None where only the end shows. What is not there
    is an error now, not after an hour."""
    if every < 1:
        raise InputError(f"--every is {every}: it is at least 1.")
    files = [file for source in sources for file in _files(source)]
    still = all(isinstance(file, Path) and file.suffix.lower() not in VIDEOS for file in files)
    return (frame for file in files for frame in _frames(file, every)), len(files) if still else None


def each_frame(sources: Sequence[str], every: int = 1) -> Iterator[tuple[str, Pixels]]:
    """Name and pixels of each frame, under a progress bar where there are many. A bad one among many is
    told and left out; at the end it is an error still."""
    frames, total = find_frames(sources, every)
    bad = []
    for frame in tqdm(frames, total=total, unit="image", disable=True if total == 1 else None, leave=False):
        try:
            pixels = frame.load()
        except InputError as error:
            if total == 1:
                raise
            bad.append(frame.name)
            tqdm.write(f"kosmos2: {error}", file=sys.stderr)
            continue
        yield frame.name, pixels
    if bad:
        raise InputError(f"{len(bad)} of the images could not be read, {bad[0]} first; the others are done.")


def _files(source: str) -> list[Path | int]:
    if source.isdecimal() and not Path(source).exists():
        return [int(source)]
    if Path(source).is_dir():
        found = sorted(file for file in Path(source).iterdir() if file.suffix.lower() in IMAGES)
    elif Path(source).exists():
        found = [Path(source)]
    else:
        found = sorted(map(Path, glob.glob(source, recursive=True)))
    if not found:
        raise InputError(f"{source} is no image, folder with images, pattern, video or camera number.")
    return list(found)


def _frames(source: Path | int, every: int) -> Iterator[Frame]:
    if isinstance(source, Path) and source.suffix.lower() not in VIDEOS:
        yield Frame(str(source), lambda: load_image(source))
        return
    import cv2  # slow to import, and only here

    video = cv2.VideoCapture(source if isinstance(source, int) else str(source))
    name = f"camera{source}" if isinstance(source, int) else str(source)
    try:
        if not video.isOpened():
            raise InputError(f"{name} cannot be opened: is it a video, or a camera that nobody else uses?")
        number = 0
        while video.grab():
            if number % every == 0:
                good, bgr = video.retrieve()
                if good:
                    yield Frame(f"{name}#{number:06}", lambda bgr=bgr: load_image(bgr[:, :, ::-1]))  # type: ignore[misc]
            number += 1
        if not number:
            raise InputError(f"{name} has no frame that can be read.")
    finally:
        video.release()
