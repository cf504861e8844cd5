"""Files that must be whole: JSON from untrusted sources, and writing that never leaves half a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kosmos2_core.errors import InputError, ModelError


def read_json(file: Path, advice: str = "download the checkpoint again") -> Any:
    """Return the content of a JSON file.

    Args:
        file: The file to read.
        advice: What the user should do if the file is damaged; it ends the error message.

    Raises:
        FileNotFoundError: There is no such file; the caller knows what that means.
        ModelError: The file cannot be read, or is not JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except RecursionError:
        raise ModelError(f"{file} cannot be read as JSON (nested too deep): {advice}.") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read as JSON ({error}): {advice}.") from None


def write_atomically(file: Path, content: str | bytes) -> None:
    """Write a file so that, at any moment and after a power failure, it is the old one or the new one.

    The content goes to a file with the suffix `.new` in the same folder, which then replaces `file`. An
    OSError is left to the caller, and the unfinished file is removed.

    Args:
        file: The file to write; its folder must exist.
        content: The whole content; text is written as UTF-8.
    """
    data = content.encode() if isinstance(content, str) else content
    unfinished = file.with_name(f"{file.name}.new")
    try:
        with unfinished.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(file)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give the path of a new folder, which gets its name only at the end of the block.

    The path does not exist yet; the block has to make it. If the block raises, nothing is left behind. An
    OSError is left to the caller.

    Args:
        folder: The final name; missing parents are made.

    Raises:
        InputError: The folder exists.
    """
    if folder.exists():
        raise InputError(f"{folder} exists: choose a free name, or remove it.")
    target = folder.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
        unfinished = Path(temporary, target.name)
        yield unfinished
        unfinished.rename(target)
