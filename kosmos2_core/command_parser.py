"""The words of a robot command that are to be located: `put [the mug] on [the table]`.

A text with `;` is a list of expressions. A command starts, after polite words, with a verb that robots are
given; any other text is one expression as a whole. In a command (`CommandSplitter`):

- A noun phrase begins at a determiner, a number or any word not listed below. It ends at punctuation, an
  adverb, a particle, a pronoun, the next verb or the next determiner. `and` and `or` separate two noun
  phrases if a determiner or a verb follows: `the red and blue ball` is one, and so is `between A and B`.
- Words that tell which object is meant belong to its phrase: `of`, `with`, `wearing`, `that is`, and the
  prepositions of place: `pick up [the mug left of the bowl]`.
- The source and the goal of a movement are objects of their own: `take [the mug] from [the shelf] to [the
  table]`.
- After a verb of placing (put, stack, hang) without `to`, `into` or `onto`, the last preposition of place
  after the object names the goal: `put [the mug on the tray] next to [the sink]`. If no object comes before,
  it is the first: `put it on [the table next to the sink]`.
- Words that name no object are not located (`it`, `that one`, `the left`, `two meters`), nor is the robot and
  what is `your`s.

A verb that is also a noun or an adjective (press, set, open, empty) counts as a verb only before a
determiner, number, pronoun, adverb, particle, `to`, `from` or `at`: `press [the button]`, but `[press next to
the drill]`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal

from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import GroundedText, Phrase

Span = tuple[int, int]  # offsets in a text, in code points, end exclusive

# "other" ends a noun phrase and is no part of it: pronouns, adverbs, particles, conjunctions.
_Kind = Literal[
    "verb", "placing", "polite", "determiner", "number", "word", "and",
    "place", "source", "goal", "belonging", "relative", "other", "pause",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Token:
    """One or more words of a text that are of one kind together, such as `left of`."""

    start: int
    end: int
    words: str
    kind: _Kind


def _listed(text: str) -> frozenset[str]:
    return frozenset(re.split(r",\s+", text))


_BESIDE = frozenset(
    f"{before}{side} of"
    for before in ("", "in ", "on ", "to ", "at ", "in the ", "on the ", "to the ", "at the ")
    for side in ("left", "right", "top", "front", "back", "left side", "right side", "left hand side")
)
_COUNTED = frozenset(f"from the {side}" for side in ("left", "right", "top", "bottom", "front", "back"))
_NOUNS_TOO = _listed(
    """brush, clean, clear, clip, cover, dock, dry, drill, empty, hammer, hand, head, hook, lift, light,
    lock, lower, mop, open, park, plug, press, roll, screw, set, slide, split, stack, stick, switch, tap,
    vacuum, watch"""
)
_WORDS: dict[_Kind, frozenset[str]] = {
    "verb": _NOUNS_TOO
    | _listed(
        """add, align, approach, are there, avoid, bring, carry, catch, check, choose, close, collect, come,
        connect, count, cut, deliver, detach, detect, disconnect, do you see, drive, enter, examine, explore,
        feed, fetch, fill, find, flip, fold, follow, get, give, go, grab, grab hold of, grasp, grip, help,
        hit, hold, identify, inspect, is there, knock, load, locate, look, loosen, mix, navigate, pack, pass,
        peel, pick, pinch, point, poke, press and hold, put away, raise, reach, recognize, release, remove,
        replace, retrieve, return, rinse, rotate, scan, scrub, search, see, select, separate, shake, show,
        slice, sort, squeeze, stir, stop, swap, sweep, take, take hold of, tell, throw away, tidy, tighten,
        tilt, touch, track, try, turn, twist, unfold, unload, unlock, unpack, unplug, unscrew, unstack, use,
        wait, walk, wash, where are, where is, where's, wipe, wrap"""
    ),
    # Verbs after which a preposition of place names the goal.
    "placing": _listed(
        """arrange, attach, drop, hang, hide, insert, install, lay, lean, leave, mount, move, pile, place,
        plug, position, pour, pull, push, put, roll, screw, set, shift, slide, spread, stack, stick, store,
        throw, toss, transfer"""
    ),
    "polite": _listed(
        """can you, could you, would you, will you, i want you to, i need you to, i would like you to,
        i'd like you to, robot, hey, hi, hello, ok, okay, first, next, finally, do not, don't, never,
        let's"""
    ),
    "determiner": _listed(
        "the, a, an, this, that, these, those, my, your, his, her, its, our, their, every, each"
    ),
    "number": _listed(
        """all, any, another, both, few, half, many, several, some, one, two, three, four, five, six, seven,
        eight, nine, ten, everything, something, anything"""
    ),
    "and": _listed("and, or"),
    "place": _BESIDE
    | _listed(
        """above, across, across from, against, along, among, around, at, behind, below, beneath, beside,
        between, by, close to, closest to, far from, farthest from, furthest from, in, in between,
        in front of, inside, inside of, near, nearest to, next to, on, opposite, outside, over, under,
        underneath, upon, within"""
    ),
    "source": _listed("from, off, off of, out of, past, through, via"),
    "goal": _listed("to, into, onto, toward, towards"),
    "belonging": _listed(
        """of, with, without, for, made from, wearing, holding, carrying, containing, facing, showing,
        attached to, connected to, belonging to, similar to"""
    ),
    "relative": _listed("who, which, whose, standing, lying, sitting, located"),
    "other": _listed(
        """i, me, you, he, him, she, it, we, us, they, them, there, here, is, are, was, were, be, has, have,
        had, do, up, down, out, away, aside, back, together, apart, left, right, forward, forwards, backward,
        backwards, straight, ahead, home, upright, clockwise, counterclockwise, a bit, slowly, carefully,
        gently, quickly, firmly, immediately, now, right now, then, again, also, too, just, only, please,
        kindly, thanks, thank you, not, but, so, if, when, where, while, until, before, after, because, as,
        what"""
    ),
    # Objects whose first word would be taken for a verb; sides from which objects are counted.
    "word": _COUNTED | _listed("stop sign, stop signs, stop button, push button, turn signal"),
}
# A verb in two lists has the kind of the later one.
_KINDS = {words: kind for kind, listed in _WORDS.items() for words in listed}
_LONGEST = {words.split()[0]: size for size in range(2, 6) for words in _KINDS if len(words.split()) == size}
_UNITS = _listed(
    """degree, degrees, m, cm, mm, meter, meters, metre, metres, centimeter, centimeters, inch, inches, feet,
    step, steps, second, seconds, minute, minutes, times"""
)
# Words that name no object by themselves; spaCy takes `one` for a noun.
_VAGUE = (
    _UNITS
    | _COUNTED
    | _listed(
        """left, right, top, bottom, front, back, rear, side, middle, center, far,
        way, direction, one, ones, robot, gripper, arm"""
    )
)
_VERBS = {"verb", "placing"}
_STARTING = {*_VERBS, "polite"}  # but not within a noun phrase, as in `the can you see`
_BEGINNING = {"determiner", "number", "word"}
_ENDING = {"source", "goal", "other", "pause"}
_BEFORE_NEXT = {"determiner", "word"}  # a determiner after these begins the next noun phrase
_BEFORE_COMMAND = {"polite", "other", "and", "pause"}
_AFTER_VERB = {"determiner", "number", "source", "goal", "other"}
_END = _Token(0, 0, "", "pause")
# spaCy's names of the parts of a phrase that tell which object is meant.
_MODIFIERS = {"prep", "relcl", "acl", "advmod", "amod", "nummod"}

# Each alternative takes its characters once, so that parsing takes time linear in the length of the text.
_WORD = re.compile(r"\w+(?:(?:['’/&-]|(?<=\d)[.,](?=\d))\w+)*|[.,:!?()\[\]{}…–—\n]+|(?<=\s)-(?=\s)")


class Splitter(ABC):
    """Finds the phrases to locate in a text without marks. Call it with the text."""

    def __call__(self, text: str) -> GroundedText:
        """Return the text with its phrases marked.

        A text with `;` is a list of expressions, and a text that is no command is one expression.
        """
        if ";" in text:
            spans: Sequence[Span] = _list_items(text)
        else:
            noun_phrases = self.noun_phrases(text)
            spans = _whole(text) if noun_phrases is None else noun_phrases
        return GroundedText(text, tuple(Phrase(*span) for span in spans))

    @abstractmethod
    def noun_phrases(self, text: str) -> list[Span] | None:
        """Return the noun phrases of a command that name objects; None if the text is no command."""


class CommandSplitter(Splitter):
    """Splits a text by the word lists and rules of this module."""

    def noun_phrases(self, text: str) -> list[Span] | None:
        tokens = _tokens(text)
        first = next((token for token in tokens if token.kind not in _BEFORE_COMMAND), _END)
        if first.kind not in _VERBS:
            return None
        expressions = (
            words for placing, clause in _clauses(tokens) for words in _expressions(placing, clause)
        )
        named = filter(None, map(_named, expressions))
        return [(words[0].start, words[-1].end) for words in named]


class SpacySplitter(Splitter):
    """Splits a text by the parse of a spaCy pipeline.

    A noun chunk is an expression, together with the prepositions and relative clauses that the parser
    attaches to the right of its noun. A text without a verb at a root is no command.

    Args:
        nlp: The pipeline, such as `spacy.load("en_core_web_sm")`.
    """

    def __init__(self, nlp: Callable[[str], Any]) -> None:
        self._nlp = nlp

    def noun_phrases(self, text: str) -> list[Span] | None:
        doc = self._nlp(text)
        if not doc.has_annotation("DEP"):
            raise InputError(
                "the spaCy pipeline does not parse: use one with a parser, such as en_core_web_sm."
            )
        if not any(token.dep_ == "ROOT" and token.pos_ in {"VERB", "AUX"} for token in doc):
            return None
        spans: list[Span] = []
        end = 0
        for chunk in doc.noun_chunks:
            if chunk.start >= end and _chunk_is_object(chunk):
                edges = [word.right_edge.i + 1 for word in chunk.root.rights if word.dep_ in _MODIFIERS]
                end = max([chunk.end, *edges])
                words = [word for word in doc[chunk.start : end] if not (word.is_punct or word.is_space)]
                spans.append((words[0].idx, words[-1].idx + len(words[-1])))
        return spans


split_command = CommandSplitter()


def _list_items(text: str) -> list[Span]:
    """Return the expressions of a list, without spaces around them; an item has a word."""
    items = re.finditer(r"[^;\s](?:[^;]*[^;\s])?", text)
    return [item.span() for item in items if has_word(item[0])]


def _whole(text: str) -> list[Span]:
    """Return the whole text as one expression, without its full stop; nothing for a text without a word."""
    expression = text.strip()
    if expression.endswith((".", "!", "?")):
        expression = expression[:-1].rstrip()
    start = len(text) - len(text.lstrip())
    return [(start, start + len(expression))] if has_word(expression) else []


def has_word(text: str) -> bool:
    """Return whether a text has a letter or a digit, of any script: `?!` names nothing."""
    return any(map(str.isalnum, text))


def indefinite(phrase: str) -> str:
    """Return a phrase as something that may not exist: `the red mug` becomes `a red mug`.

    The determiner that it starts with becomes an indefinite article. Counted things and plurals get none.
    """
    tokens = _tokens(phrase)
    if len(tokens) > 1 and tokens[0].kind == "determiner":
        tokens = tokens[1:]
    if not tokens:
        return phrase
    words = phrase[tokens[0].start :]
    noun = list(takewhile(lambda token: token.kind == "word", tokens))[-1:]
    plural = noun and noun[0].words.endswith("s") and not noun[0].words.endswith(("ss", "us", "is"))
    if plural or tokens[0].kind == "number":
        return words
    return f"{'an' if words[0].lower() in 'aeiou' else 'a'} {words}"


def _tokens(text: str) -> list[_Token]:
    matches = list(_WORD.finditer(text))
    words = [match[0].lower().replace("’", "'") for match in matches] + ["."]
    tokens: list[_Token] = []
    i = 0
    while i < len(matches):
        before = tokens[-1] if tokens else _END
        size, kind = _kind(before, words[i : i + 5])
        if matches[i][0] == "A" and before.kind == "word":  # shelf A
            size, kind = 1, "word"
        end = i + size
        tokens.append(_Token(matches[i].start(), matches[end - 1].end(), " ".join(words[i:end]), kind))
        i = end
    return tokens


def _kind(before: _Token, words: list[str]) -> tuple[int, _Kind]:
    """Return how many of the words are one token, and its kind after the token before."""
    kind, after = map(_listed_kind, words[:2])
    if before.words in {"the", "a", "an"} and before.kind == "determiner":  # the off switch
        return 1, kind if kind in {"number", "pause"} else "word"
    if kind == "number" and words[1] in _UNITS and before.kind != "determiner":
        return 2, "other"
    if before.kind == "relative" and kind == "other":  # the mug that is
        return 1, "relative"
    if before.kind in {"number", "word"} and words[0] == "that":
        return 1, "relative"
    naming = before.kind not in _BEFORE_COMMAND | _VERBS and before.words != "to"
    for size in range(_LONGEST.get(words[0], 1), 1, -1):
        longer = _KINDS.get(" ".join(words[:size]))
        if longer and not (naming and longer in _STARTING):
            return size, longer
    if kind in _STARTING and (naming or not _is_verb(words[0], words[1])):
        return 1, "word"
    if words[0] in {"left", "right"}:  # the top left drawer, on your left; but: move the cup left
        names = after == "word" or before.kind in {"determiner", "place"} or before.words in _VAGUE
        return 1, "word" if names else "other"
    return 1, kind


def _listed_kind(word: str) -> _Kind:
    if not (word[0].isalnum() or word[0] == "_"):
        return "pause"
    return "number" if word[0].isdigit() else _KINDS.get(word, "word")


def _is_verb(word: str, after: str) -> bool:
    """Return whether a listed verb is a verb before this word: in `set the cup`, not in `set of cups`."""
    if word in _NOUNS_TOO:
        return _listed_kind(after) in _AFTER_VERB or after in {"at", "over"}
    return after != "of"


def _clauses(tokens: list[_Token]) -> Iterator[tuple[bool, list[_Token]]]:
    """Yield the words between verbs, pauses, and `and`s that separate noun phrases.

    The first value is whether the verb before is a verb of placing.
    """
    placing = between = False
    clause: list[_Token] = []
    for token, after in zip(tokens, [*tokens[1:], _END], strict=True):
        separates = token.kind == "and" and after.kind in {"determiner", "number"} and not between
        if separates or token.kind == "pause" or token.kind in _STARTING:
            yield placing, clause
            clause, between = [], False
            placing = token.kind == "placing" or (placing and token.kind != "verb")
        else:
            clause.append(token)
            between = token.words in {"between", "in between"} or (between and token.kind != "and")
    yield placing, clause


def _expressions(placing: bool, clause: list[_Token]) -> Iterator[list[_Token]]:
    """Yield the noun phrases of a clause, with the words that belong to them."""
    goal = _goal_preposition(clause) if placing else -1
    phrase: list[_Token] = []
    for i, token in enumerate([*clause, _END]):
        ends = i == goal or token.kind in _ENDING
        if ends or (token.kind == "determiner" and phrase and phrase[-1].kind in _BEFORE_NEXT):
            yield phrase
            phrase = []
        if not ends and (phrase or token.kind in _BEGINNING):
            phrase.append(token)


def _goal_preposition(clause: list[_Token]) -> int:
    """Return the index of the preposition of place that names the goal, or -1.

    It is the last one after the object that is to be placed.
    """
    kinds = [token.kind for token in clause]
    if "goal" in kinds or "place" not in kinds:
        return -1
    first = kinds.index("place")
    if "word" not in kinds[:first]:  # put it on the table next to the bowl
        return first
    # Not: the mug that is on the table.
    candidates = (i for i, kind in enumerate(kinds) if kind == "place" and kinds[i - 1] != "relative")
    return max(candidates, default=-1)


def _named(phrase: list[_Token]) -> list[_Token]:
    """Return the phrase without prepositions at its end; nothing if it names no object."""
    while phrase and phrase[-1].kind not in {"number", "word"}:
        phrase.pop()
    return phrase if _is_object(phrase) else []


def _is_object(phrase: list[_Token]) -> bool:
    words = {token.words for token in phrase if token.kind == "word"}
    return bool(words - _VAGUE) and phrase[0].words != "your"


def _chunk_is_object(chunk: Any) -> bool:
    if chunk.root.pos_ == "PRON" or chunk[0].lower_ == "your":
        return False
    words = (word for word in chunk if word.pos_ not in {"DET", "NUM", "PRON"})
    return any(word.lower_ not in _VAGUE and not (word.is_punct or word.is_space) for word in words)
