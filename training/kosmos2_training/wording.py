"""What a text says that a changed image may make untrue: sides, comparisons, places in the image.

The words are English. A word more here costs a few examples, a word less teaches something wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kosmos2_data.records import Item

_SIDE = (
    r"left\w*|right\w*|\w*clockwise|east\w*|west\w*|port|starboard|mirror\w*"
    r"|first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|last|\d+(st|nd|rd|th)"
)
# What is written on things is not legible in a mirror.
_READING = (
    r"say\w*|read\w*|writ\w+|words?|texts?|letters?|labels?|signs?|logos?|clocks?|time|digits?|numbers?"
)
_COMPARISON = (
    rf"{_SIDE}|front|back\w*|rear|behind|next|near\w*|clos\w+|far\w*|furth\w+|between|beside\w*|by|above|below"
    r"|over|under\w*|beneath|top\w*|bottom\w*|middle|cent(re|er)\w*|among|around|against|opposite|\w+est"
    r"|most|least|more|less|fewer|than|bigger|smaller|larger|taller|shorter|longer|wider|thinner|higher|lower"
    r"|upper|lighter|darker|big|small|large|little|tall|short|long|wide|other\w*|another|same|different|only"
    r"|alone|all|every\w*|each|both|either|neither|none|any|many|count\w*|total|one of"
)
_RELATION = r"on|onto|in|into|inside|outside|with\w*|without|of|at|from|touching|holding|facing"
_PLACE = (
    r"(on|in|at|to|towards?) the (far |very |upper |lower |top |bottom )*(left|right)(?! of the)"
    r"|(image|picture|photo\w*|frame|view|screen)s?|side|half|part|corners?|edges?|middle|cent(re|er)\w*"
    r"|top\w*|bottom\w*|upper|lower|how (far|big|large|tall|wide|long)|distances?|\d*(m|cm|mm)"
    r"|(centi|milli)?(metre|meter)s?|inch\w*|f(oo|ee)t"
)


def _any(words: str) -> re.Pattern[str]:
    return re.compile(rf"\b({words})\b", re.IGNORECASE)


SIDE, READING, COMPARISON, RELATION, PLACE = map(_any, (_SIDE, _READING, _COMPARISON, _RELATION, _PLACE))


def stands_mirroring(item: Item) -> bool:
    """Whether what is said stays true, and as usual, in a mirror."""
    if any(SIDE.search(text) for text in _texts(item)) or _is_in_order(item):
        return False
    return item.task not in ("ask", "text") or not any(READING.search(text) for text in _texts(item))


def stands_moving(item: Item) -> bool:
    """Whether it stays true where the image's edges are elsewhere and no object left the image."""
    return not any(PLACE.search(text) for text in _texts(item))


def stands_losing(item: Item) -> bool:
    """Whether it stays true where objects that it does not mark are no longer in the image, or cut off."""
    of_all = item.task in ("caption", "text") or (item.task == "ask" and not _regions(item))
    if of_all or any(COMPARISON.search(text) for text in _texts(item)):
        return False
    return not any(RELATION.search(item.text.words_of(phrase)) for phrase in item.text.phrases)


def _texts(item: Item) -> Iterator[str]:
    yield item.text.text
    if item.question is not None:
        yield item.question.text


def _regions(item: Item) -> bool:
    return item.question is not None and bool(item.question.phrases)


def _is_in_order(item: Item) -> bool:
    """A caption that names things from left to right may do so on purpose."""
    firsts = [phrase.boxes[0] for phrase in item.text.phrases if phrase.boxes]
    middles = [box.x1 + box.x2 for box in firsts]
    return item.task == "caption" and len(middles) > 1 and middles == sorted(middles)
