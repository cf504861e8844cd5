"""Images from files, folders, patterns, web addresses, videos and cameras."""

from __future__ import annotations

import glob
import itertools
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from kosmos2_core.errors import InputError
from kosmos2_core.images import Pixels, load_image
from kosmos2_core.regular_files import check_regular_file

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
VIDEO_SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"}
MAX_DOWNLOAD_BYTES = 50_000_000
CONNECT_TIMEOUT_S, DOWNLOAD_TIMEOUT_S = 20.0, 60.0
CHUNK_BYTES = 1 << 16

Item = TypeVar("Item")


@dataclass(frozen=True)
class ImageSource:
    """An image that has not been read yet.

    Args:
        name: shown to users; its picture is named after it.
        load: reads the image. Raises InputError if it cannot be read.
    """

    name: str
    load: Callable[[], Pixels]


def find_images(sources: Sequence[str], step: int = 1) -> tuple[Iterator[ImageSource], int | None]:
    """Find the images that a command line names.

    Args:
        sources: files, folders, patterns, web addresses, videos and camera numbers.
        step: use every Nth frame of a video or camera.

    Returns:
        The images, and their number; the number is None if a video or camera is among them.

    Raises:
        InputError: a source does not exist. This is checked at once, before any image is read.
    """
    if step < 1:
        raise InputError(f"--every is {step}: it must be at least 1.")
    files = [file for source in sources for file in _expand(source)]
    still = not any(_is_video(file) for file in files)
    images = (image for file in files for image in _images_of(file, step))
    return images, len(files) if still else None


def read_images(sources: Sequence[str], step: int = 1) -> Iterator[tuple[str, Pixels]]:
    """Yield name and pixels of each image that a command line names.

    The first image is read before this function returns, so that unreadable input is reported before a model
    is loaded. If one of several images cannot be read, a message names it and the others are yielded; the end
    of the iteration then raises InputError. A progress bar is shown while several images are processed.
    """
    images, total = find_images(sources, step)
    readable = _with_first_read(_read(images, total == 1))
    return _with_progress(readable, total)


def _with_progress(items: Iterator[Item], total: int | None) -> Iterator[Item]:
    """Show a progress bar from the first item that is asked for, so after a model is loaded."""
    yield from tqdm(items, total=total, unit="image", disable=True if total == 1 else None, leave=False)


def _read(images: Iterator[ImageSource], only: bool) -> Iterator[tuple[str, Pixels]]:
    bad = []
    for image in images:
        try:
            pixels = image.load()
        except InputError as error:
            if only:
                raise
            bad.append(image.name)
            tqdm.write(f"kosmos2: {error}", file=sys.stderr)
            continue
        yield image.name, pixels
    if bad:
        raise InputError(
            f"{len(bad)} of the images could not be read, the first is {bad[0]}; the others were processed."
        )


def _with_first_read(items: Iterator[Item]) -> Iterator[Item]:
    """Read the first item now: errors in it are raised here."""
    return itertools.chain(list(itertools.islice(items, 1)), items)


def is_url(source: str) -> bool:
    """Return whether a source is a web address."""
    return source.lower().startswith(("http://", "https://"))


def _is_video(source: Path | int | str) -> bool:
    return isinstance(source, int) or (isinstance(source, Path) and source.suffix.lower() in VIDEO_SUFFIXES)


def _expand(source: str) -> list[Path | int | str]:
    """Return the files, the camera number or the address that a source stands for."""
    if is_url(source):
        return [source]
    if source.isdecimal() and not Path(source).exists():
        return [int(source)]
    if Path(source).is_dir():
        found = sorted(file for file in Path(source).iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        if not found:
            raise InputError(f"the folder {source} has no image: PNG, JPEG and WebP files are read.")
    elif Path(source).exists():
        found = [Path(source)]
    else:
        found = sorted(map(Path, glob.glob(source, recursive=True)))
    if not found:
        raise InputError(
            f"there is no image {source}: give a file, an http(s) address, a folder, a pattern in quotes, a"
            " video or the number of a camera."
        )
    return list(found)


def _images_of(source: Path | int | str, step: int) -> Iterator[ImageSource]:
    if isinstance(source, str):
        return iter([ImageSource(source, lambda: download_image(source))])
    if isinstance(source, Path) and not _is_video(source):
        return iter([ImageSource(str(source), lambda: load_image(source))])
    return _video_frames(source, step)


def _video_frames(source: Path | int, step: int) -> Iterator[ImageSource]:
    import cv2

    if isinstance(source, Path):
        _check_video_file(source)
    video = cv2.VideoCapture(source if isinstance(source, int) else str(source))
    name = f"camera{source}" if isinstance(source, int) else str(source)
    try:
        if not video.isOpened():
            raise InputError(
                f"{name} cannot be opened: check that it is a video, or a camera that no other program uses."
            )
        number = 0
        while video.grab():
            if number % step == 0:
                good, bgr = video.retrieve()
                if good:
                    yield ImageSource(f"{name}#{number:06}", lambda bgr=bgr: load_image(bgr[:, :, ::-1]))  # type: ignore[misc]
            number += 1
        if not number:
            raise InputError(f"{name} has no frame that can be read.")
    finally:
        video.release()


def _check_video_file(file: Path) -> None:
    try:
        check_regular_file(file)
    except OSError as error:
        raise InputError(f"{file} cannot be opened: {error.strerror}.") from None


def download_image(url: str) -> Pixels:
    """Download an image of at most MAX_DOWNLOAD_BYTES.

    Raises:
        InputError: the address cannot be reached, is too slow or too large, or is not an image.
    """
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "kosmos2"})
        with urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT_S) as response:
            data = _read_limited(response, url)
    except urllib.error.HTTPError as error:
        raise InputError(
            f"{url} cannot be downloaded: the server answers {error.code} {error.reason}."
        ) from None
    except (OSError, ValueError) as error:  # URLError, timeouts and broken connections are OSErrors
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"{url} cannot be downloaded ({reason}): check the address and the network connection."
        ) from None
    try:
        return load_image(data)
    except InputError:
        raise InputError(
            f"{url} is not an image that can be read: it must be the address of a PNG, JPEG or WebP file."
        ) from None


def _read_limited(response: Any, url: str) -> bytes:
    """Read a response, within the limits on its size and time."""
    end_s = time.monotonic() + DOWNLOAD_TIMEOUT_S
    data = bytearray()
    while chunk := response.read(CHUNK_BYTES):
        data += chunk
        if len(data) > MAX_DOWNLOAD_BYTES:
            raise InputError(
                f"{url} is larger than {MAX_DOWNLOAD_BYTES // 1_000_000} MB, the limit for downloaded images."
            )
        if time.monotonic() > end_s:
            raise InputError(
                f"{url} took longer than {DOWNLOAD_TIMEOUT_S:.0f} s: download it to a file first."
            )
    return bytes(data)
