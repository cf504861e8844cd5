"""Answers on disk: a line each, written as they come, so that a run that was cut off goes on.

Each process appends to a file of its own, `answers-0.jsonl`; at the end the first one merges all into
`answers.jsonl`. A file begins with what it is about, so that answers of two models are never mixed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kosmos2_core.errors import InputError
from kosmos2_eval.benchmarks.question import Question, Said

MERGED = "answers.jsonl"


@dataclass
class Answers:
    folder: Path
    about: dict[str, Any]  # benchmark, split, model and what else the answers depend on
    said: dict[str, dict[str, Said]] = field(default_factory=dict)  # id: the answer of each way of asking
    failed: dict[str, str] = field(default_factory=dict)  # id: why; asked again by the next run

    @classmethod
    def read(cls, folder: Path, about: dict[str, Any]) -> Answers:
        """All that is there already, of whatever process."""
        answers = cls(folder, about)
        for file in answers.files():
            answers._take(file)
        return answers

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("answers*.jsonl"))

    def _take(self, file: Path) -> None:
        head, *lines = file.read_text(encoding="utf-8").split("\n")
        if not lines:  # cut off in its first line
            return
        if head != json.dumps(self.about):
            raise InputError(
                f"{file} holds answers to something else, {head}: name another folder, or remove it."
            )
        for number, line in enumerate(lines[:-1], 2):  # the last one is empty, or was cut off
            try:
                self._add(json.loads(line))
            except (LookupError, TypeError, ValueError, AttributeError):
                raise InputError(f"{file}, line {number} is no answer: remove that line.") from None

    def _add(self, fields: dict[str, Any]) -> None:
        name = fields.pop("id")
        if "failed" not in fields:
            self.said[name] = {way: Said.of_json(one) for way, one in fields.items()}
            self.failed.pop(name, None)
        elif name not in self.said:
            self.failed[name] = fields["failed"]

    def merge(self, questions: Sequence[Question]) -> None:
        """One file, in the order of the questions; those not asked this time follow."""
        places = {question.id: place for place, question in enumerate(questions)}
        known = sorted({**self.failed, **self.said}, key=lambda name: places.get(name, len(places)))
        old = [file for file in self.files() if file.name != MERGED]
        fresh = self.folder / f"{MERGED}.new"
        with fresh.open("w", encoding="utf-8") as stream:
            stream.write(json.dumps(self.about) + "\n")
            for name in known:
                stream.write(_line(name, self.said.get(name), self.failed.get(name)))
        fresh.replace(self.folder / MERGED)
        for file in old:
            file.unlink()


@dataclass
class AnswerLog:
    """Where one process puts its answers."""

    file: Path
    about: dict[str, Any]

    def __post_init__(self) -> None:
        """Cut off what a killed run left behind its last whole line."""
        if self.file.exists():
            os.truncate(self.file, self.file.read_bytes().rfind(b"\n") + 1)
        self.stream = self.file.open("ab")
        if not self.stream.tell():
            self.stream.write(json.dumps(self.about).encode() + b"\n")
            self.stream.flush()

    def __enter__(self) -> AnswerLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def add(self, name: str, said: Mapping[str, Said] | None, failed: str | None = None) -> None:
        self.stream.write(_line(name, said, failed).encode())
        self.stream.flush()


def _line(name: str, said: Mapping[str, Said] | None, failed: str | None) -> str:
    fields = {"failed": failed} if said is None else {way: one.to_json() for way, one in said.items()}
    return json.dumps({"id": name, **fields}, ensure_ascii=False) + "\n"
