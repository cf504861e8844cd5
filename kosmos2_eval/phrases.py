"""Words of phrases: the overlap of two texts, the kind of a phrase, and the kinds with the most errors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from kosmos2_data.records import normalised

NO_KIND = "(no kind)"
ERRORS = ("false_alarms", "misses")  # keys of the metrics of a kind
_SIDE = r"(?:left|right|middle|cent(?:re|er)|front|back|top|bottom|corner|far (?:left|right|side))"
_RELATION = re.compile(
    rf"\b(?:{_SIDE} of|next to|close to|between|behind|beside|in front of|under|below|above|over|inside"
    r"|underneath|beneath|near|closest to|nearest to)\b"
    rf"|\b(?:in|on|at|by|with|from) (?:the|a|an|my|your|its) (?!{_SIDE}\b)\w",
)
_POSITION = re.compile(
    rf"\b(?:(?:in|on|at|to) the {_SIDE}|(?:left|right|top|bottom)-?most|nearest|closest|farthest|furthest"
    rf"|(?:upper|lower|left|right|middle|first|last|front|back|top|bottom)(?= \w))\b"
)
_SIZE = re.compile(
    r"\b(?:small|large|big|little|tiny|huge|tall|short|long|thick|thin|wide|narrow)(?:er|est|ger|gest)?\b"
)
_DETERMINER = re.compile(r"^(?:the|an?|this|that|these|those|my|your|its|one|some)\s+")


def token_f1(answer: str, truth: str) -> float:
    """Return the F1 of shared words: the harmonic mean of word precision and word recall."""
    answer_words, true_words = (Counter(normalised(text).split()) for text in (answer, truth))
    shared = (answer_words & true_words).total()
    if not shared:
        return float(answer_words == true_words)
    return 2 * shared / (answer_words.total() + true_words.total())


def kind_of(phrase: str) -> str:
    """Return how a phrase identifies its object, judged by its words.

    Returns:
        The first kind that fits: `relation` to another object ("the mug left of the bowl"), `position` in
        the image ("the mug on the left"), `size` ("the small mug"), `attribute`, which is any other word
        before the noun ("the red mug"), or `name` ("the mug").
    """
    words = " ".join(phrase.lower().split())
    for kind, pattern in (("relation", _RELATION), ("position", _POSITION), ("size", _SIZE)):
        if pattern.search(words):
            return kind
    return "attribute" if " " in _DETERMINER.sub("", words) else "name"


def worst_kinds(kinds: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the kinds with the most false alarms and with the most misses; none without any such error."""
    return {error: _worst(kinds, error) for error in ERRORS}


def _worst(kinds: Mapping[str, Mapping[str, Any]], error: str) -> list[str]:
    rates = {kind: metrics[error] for kind, metrics in kinds.items() if metrics[error]}
    return [kind for kind, rate in rates.items() if rate == max(rates.values())]


def worst_kinds_text(worst: Mapping[str, Sequence[str]]) -> str:
    """Return `most false alarms: relation; most misses: name`; empty without any error."""
    return "; ".join(
        f"most {error.replace('_', ' ')}: {', '.join(kind or NO_KIND for kind in kinds)}"
        for error, kinds in worst.items()
        if kinds
    )
