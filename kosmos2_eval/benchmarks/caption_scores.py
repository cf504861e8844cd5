"""METEOR and CIDEr by pycocoevalcap, the code behind the published figures.

Both want words as the Penn Treebank has them, and METEOR itself, from Java. Without Java words are split
here, by a rule that differs only in rare cases, and CIDEr is computed alone.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path

from kosmos2_core.errors import InputError
from kosmos2_eval.benchmarks.benchmark import Figure
from kosmos2_eval.metrics import standard_error

NEEDS_JAVA = "needs Java (`apt install default-jre-headless`), which is not there"
WORD = re.compile(
    r"(?:[a-z]\.){2,}|n't\b|'(?:s|m|d|re|ve|ll)\b|\w+?(?=n't\b)|\w+(?:-\w+|[.,:](?=\d)\w+)*|[^\w\s]"
)
DROPPED = frozenset("'`.?!,:-;\"")
BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}

Texts = dict[int, list[str]]


def caption_figures(
    truths: Sequence[Sequence[str]], said: Sequence[str], names: Sequence[str]
) -> list[Figure]:
    """Figures in percent, of texts each of which has several true ones."""
    java = shutil.which("java") is not None
    words = java_words if java else plain_words
    references = words({number: [_line(one) for one in own] for number, own in enumerate(truths)})
    candidates = words({number: [_line(one)] for number, one in enumerate(said)})
    return [_figure(name, references, candidates, java) for name in names]


def _figure(name: str, references: Texts, candidates: Texts, java: bool) -> Figure:
    if not candidates or (name == "METEOR" and not java):
        return Figure(name, None, None, 0, "" if java else f"{name} {NEEDS_JAVA}.")
    try:
        value, each = (meteor if name == "METEOR" else cider)(references, candidates)
    except (OSError, ValueError) as error:  # of METEOR's Java, as where it gets no memory
        return Figure(name, None, None, 0, f"{name} could not be computed: Java ended early ({error}).")
    spread = standard_error(each, range(len(each)))
    remark = "" if java else f"{name} is of words split here: Penn Treebank's way of it {NEEDS_JAVA}."
    return Figure(name, 100 * value, None if spread is None else 100 * spread, len(each), remark)


def _line(text: str) -> str:
    return " ".join(text.split())


def java_words(texts: Texts) -> Texts:
    """By the same program as pycocoevalcap's own reader, which would write into its package's folder."""
    with _library():
        from pycocoevalcap.tokenizer import ptbtokenizer
    jar = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
    command = ["java", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer"]
    options = ["-preserveLines", "-lowerCase", "-encoding", "UTF-8"]
    lines = "".join(f"{text}\n" for own in texts.values() for text in own)
    done = subprocess.run([*command, *options], input=lines.encode(), capture_output=True, check=False)
    if done.returncode:
        raise InputError(f"Java cannot split words ({done.stderr.decode(errors='replace').strip()[-200:]}).")
    split = iter(done.stdout.decode().split("\n"))
    dropped = set(ptbtokenizer.PUNCTUATIONS)
    return {
        number: [" ".join(word for word in next(split).split() if word not in dropped) for _ in own]
        for number, own in texts.items()
    }


def plain_words(texts: Texts) -> Texts:
    """In lower case, without punctuation, endings such as 's and n't on their own."""

    def split(text: str) -> str:
        words = WORD.findall(text.lower())
        return " ".join(BRACKETS.get(word, word) for word in words if word not in DROPPED)

    return {number: [split(text) for text in own] for number, own in texts.items()}


def cider(references: Texts, candidates: Texts) -> tuple[float, list[float]]:
    """The mean, and each text's. Words are weighed by how rare they are among these references."""
    with _library():
        from pycocoevalcap.cider.cider import Cider

        value, each = Cider().compute_score(references, candidates)
    return float(value), [float(one) for one in each]


def meteor(references: Texts, candidates: Texts) -> tuple[float, list[float]]:
    """Of all texts together, which is not the mean of each text's."""
    with _library():
        from pycocoevalcap.meteor.meteor import Meteor

        scorer = Meteor()
        try:
            value, each = scorer.compute_score(references, candidates)
        except (OSError, ValueError):
            scorer.lock.release()  # or it waits for itself for ever, when it is deleted
            with suppress(OSError):
                scorer.meteor_p.stdin.close()
            raise
    return float(value), [float(one) for one in each]


@contextmanager
def _library() -> Iterator[None]:
    """Its messages are no answers of ours; that it is missing is said in a sentence."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except ImportError:
        raise InputError("captions are judged by pycocoevalcap: `pip install 'kosmos2[eval]'`.") from None
