"""Answers on disk: one line per question, written as they come, so that an interrupted run can be resumed.

Every process appends to its own log, `answers-0.jsonl`; at the end the first process merges all logs into
`answers.jsonl`. The header of a log says what the answers depend on, so that answers of two models never mix.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kosmos2_core.errors import InputError
from kosmos2_eval.benchmarks.benchmark import BenchmarkAnswer, Question
from kosmos2_eval.result_files import JsonLinesLog, read_steps

MERGED = "answers.jsonl"

AnswersByWay = Mapping[str, BenchmarkAnswer]  # a question's answers by the way of asking, see runner


@dataclass
class AnswerStore:
    """All answers in a folder.

    Args:
        folder: the folder of the logs.
        about: what the answers depend on: benchmark, split, model and options.
        answers: by the id of the question.
        failed: the reason why a question could not be asked, by its id; the next run asks it again.
    """

    folder: Path
    about: dict[str, Any]
    answers: dict[str, AnswersByWay] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, about: dict[str, Any]) -> AnswerStore:
        """Read the answers of all processes.

        Raises:
            InputError: a log has another header, or a line is not an answer.
        """
        store = cls(folder, about)
        for file in store.files():
            store._read_file(file)
        return store

    def files(self) -> list[Path]:
        """Return the logs of all processes."""
        return sorted(self.folder.glob("answers*.jsonl"))

    def _read_file(self, file: Path) -> None:
        for number, line in enumerate(read_steps(file, self.about), 2):
            try:
                self._add(json.loads(line))
            except (LookupError, TypeError, ValueError, AttributeError):
                raise InputError(f"{file}, line {number} is not an answer: remove that line.") from None

    def _add(self, fields: dict[str, Any]) -> None:
        name = fields.pop("id")
        if "failed" not in fields:
            self.answers[name] = {way: BenchmarkAnswer.from_json(answer) for way, answer in fields.items()}
            self.failed.pop(name, None)
        elif name not in self.answers:
            self.failed[name] = fields["failed"]

    def open_log(self, rank: int) -> JsonLinesLog:
        """Open the log of one process to append to it."""
        return JsonLinesLog(self.folder / f"answers-{rank}.jsonl", self.about)

    def merge(self, questions: Sequence[Question]) -> None:
        """Merge all logs into one file, in the order of the questions; answers to other questions follow."""
        index = {question.id: index for index, question in enumerate(questions)}
        names = sorted({**self.failed, **self.answers}, key=lambda name: index.get(name, len(index)))
        old = [file for file in self.files() if file.name != MERGED]
        merged = self.folder / f"{MERGED}.new"
        merged.unlink(missing_ok=True)
        with JsonLinesLog(merged, self.about) as log:
            for name in names:
                log.add(answer_step(name, self.answers.get(name), self.failed.get(name)))
        merged.replace(self.folder / MERGED)
        for file in old:
            file.unlink()


def answer_step(name: str, answers: AnswersByWay | None, failed: str | None = None) -> dict[str, Any]:
    """Return the line of a log for one question: its answers, or the reason why there are none."""
    if answers is None:
        return {"id": name, "failed": failed}
    return {"id": name, **{way: answer.to_json() for way, answer in answers.items()}}
