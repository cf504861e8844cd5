"""How far an evaluation has come, so that one that was broken off goes on where it was.

A line for each batch that is done, after a line that says what is evaluated; a last line that was cut off
does not count. The file is gone when the results are there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kosmos2_core.errors import InputError

FILE = ".unfinished.jsonl"


class Journal:
    """about: what the evaluation depends on. InputError: the folder holds one of something else."""

    def __init__(self, folder: Path, about: Any) -> None:
        self.file = folder / FILE
        self._about = json.dumps(about, sort_keys=True)
        try:
            whole = self._whole_lines()
            if whole and whole[0] != self._about:
                raise InputError(
                    f"{folder} holds an unfinished evaluation of something else (of another bag, model or"
                    f" options): choose another --out, or remove {self.file}."
                )
            self._stream = self.file.open("a", encoding="utf-8")
            if not whole:
                self._write(self._about)
        except OSError as error:
            raise InputError(f"{self.file} cannot be written: {error.strerror}.") from None
        self.done = max(len(whole) - 1, 0)  # batches

    def _whole_lines(self) -> list[str]:
        """What is cut off at the end is cut away."""
        try:
            data = self.file.read_bytes()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            os.truncate(self.file, len(whole))
        return whole.decode("utf-8").splitlines()

    def add(self, batch: Any) -> None:
        self._write(json.dumps(batch, ensure_ascii=True))
        self.done += 1

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def batches(self) -> Iterator[Any]:
        with self.file.open(encoding="utf-8") as stream:
            next(stream)
            yield from map(json.loads, stream)

    def close(self, finished: bool) -> None:
        self._stream.close()
        if finished:
            self.file.unlink()
