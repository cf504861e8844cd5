"""When an answer to a visual question is right, by the rules of the VQA evaluation server.

Ten people answered each question; an answer is right as far as three of them said the same. Each person is
left out once, so that people can be judged by the same rule.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# Punctuation is dropped where it stands beside a space, or the text has a number with a comma; else it
# becomes a space.
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
COMMA = re.compile(r"\d,\d")
PERIOD = re.compile(r"\.(?!\d)")
PERIODS = 32  # so many are dropped
COUNTED = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS = {"none": "0"} | {word: str(number) for number, word in enumerate(COUNTED)}
ARTICLES = ("a", "an", "the")
# Read with any one of their apostrophes missing. Some that one would expect are not among them.
CONTRACTED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't
    he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've
    mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't
    shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's
    something'd something'd've something'll that's there'd there'd've there're there's they'd they'd've
    they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd
    where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't
    wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
CONTRACTIONS = {
    word[: mark.start()] + word[mark.end() :]: word
    for word in CONTRACTED.split()
    for mark in re.finditer("'", word)
} | {"somebody'd": "somebodyd"}


def accuracy(said: str, answers: Sequence[str]) -> float:
    """0 to 1. Where all people agree, the answer must be theirs as it is written."""
    said, answers = _line(said), [_line(one) for one in answers]
    if len(set(answers)) > 1:
        said, answers = normalised(said), [normalised(one) for one in answers]
    same = sum(one == said for one in answers)
    shares = [min(1.0, (same - (one == said)) / 3) for one in answers]
    return sum(shares) / len(shares)


def normalised(text: str) -> str:
    words = (NUMBERS.get(word, word) for word in _without_punctuation(text).lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def _without_punctuation(text: str) -> str:
    out = text
    numbers = COMMA.search(text) is not None
    for mark in PUNCTUATION:
        dropped = numbers or f"{mark} " in text or f" {mark}" in text
        out = out.replace(mark, "" if dropped else " ")
    return PERIOD.sub("", out, count=PERIODS)


def _line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()
