"""Training records that users save from the page, in the format of kosmos2_data."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any

from kosmos2_core.errors import InputError
from kosmos2_core.files import write_all, write_atomically, write_errors
from kosmos2_core.images import image_format, load_image
from kosmos2_data.record_source import RECORDS_FILE
from kosmos2_data.records import record_of, to_json
from kosmos2_serve.jobs import image_bytes
from kosmos2_serve.schemas import RecordBody

IMAGES_FOLDER = "images"
SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}


class RecordFiles:
    """Appends records to a folder that `kosmos2 data check` and `kosmos2 train` read. Safe for threads.

    The name of an image is a digest of its content, so no text from outside becomes a path, and equal images
    are stored once.

    Args:
        folder: The folder; it is made if it does not exist.

    Raises:
        InputError: The folder cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._count = 0
        try:
            (folder / IMAGES_FOLDER).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--records {folder} cannot be made ({error.strerror}).") from None
        if not os.access(folder, os.W_OK):
            raise InputError(f"--records {folder} cannot be written: choose another folder.")

    def save(self, body: RecordBody) -> dict[str, Any]:
        """Save a record and return where it is.

        Raises:
            InputError: The image or an item cannot be used.
            DiskError: The disk is full. Nothing of the record is left in the file of records then.
        """
        data = image_bytes(body.image)
        load_image(data)  # the whole of it, so that no damaged image is saved
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        image = f"{IMAGES_FOLDER}/{digest}{SUFFIXES[image_format(data)]}"
        items = [item.model_dump(exclude_defaults=True) | {"task": item.task} for item in body.items]
        record = record_of(json.dumps({"image": image, "items": items}))
        with self._lock:
            if not (self._folder / image).exists():
                write_atomically(self._folder / image, data)
            self._append(to_json(record))
            self._count += 1
            return {"image": image, "file": RECORDS_FILE, "count": self._count}

    def _append(self, line: str) -> None:
        file = self._folder / RECORDS_FILE
        with write_errors(file), file.open("ab", buffering=0) as stream:
            size = stream.seek(0, os.SEEK_END)
            try:
                write_all(stream, f"{line}\n".encode())
                os.fsync(stream.fileno())
            except OSError:
                stream.truncate(size)
                raise
