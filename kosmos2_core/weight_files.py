"""The files that a model was loaded from: their hash, and whether they have changed since.

A loaded model holds copies of its weights, so a change on disk does not affect it. But whoever looks at the
disk would be wrong about what runs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

HASH_NAME = re.compile(r"[0-9a-f]{64}")  # the hub's cache names content by its SHA-256
BLOCK_BYTES = 2**20


class WeightFiles:
    """The state of weight files at the moment when it is made, which should be before they are loaded.

    Args:
        files: The files.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self.files = tuple(sorted(set(files)))
        self._states = [_state(file) for file in self.files]

    def changed(self) -> bool:
        """Return whether a file was replaced, written to or removed since."""
        return [_state(file) for file in self.files] != self._states

    def digest(self) -> str:
        """Return the SHA-256 of the content, of several files that of their hashes in the order of names.

        The files are read, which takes seconds for a large model.
        """
        digests = [_digest(file) for file in self.files]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _state(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _digest(file: Path) -> str:
    content = file.resolve()
    if HASH_NAME.fullmatch(content.name):
        return content.name
    digest = hashlib.sha256()
    with content.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
