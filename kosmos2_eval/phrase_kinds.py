"""What a phrase tells its thing by: a name for each way, so that figures can be told apart by it.

The first that fits: `relation` (to another thing: "the mug left of the bowl"), `position` (in the image:
"the mug on the left"), `size` ("the small mug"), `attribute` (any other word before the name: "the red
mug"), `name` ("the mug").
"""

from __future__ import annotations

import re

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


def kind_of(phrase: str) -> str:
    words = " ".join(phrase.lower().split())
    for kind, pattern in (("relation", _RELATION), ("position", _POSITION), ("size", _SIZE)):
        if pattern.search(words):
            return kind
    return "attribute" if " " in _DETERMINER.sub("", words) else "name"
