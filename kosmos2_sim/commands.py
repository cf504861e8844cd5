"""Commands to a robot about the things in an image: `put [the egg](..) into [the bowl](..)`.

`kosmos2_core` splits an unmarked command into phrases by rules. The templates are such that it marks the same
words in these commands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from numpy.random import Generator

from kosmos2_data.records import Item
from kosmos2_sim.descriptions import MarkedWords, VisibleThings, grounded
from kosmos2_sim.draws import choose
from kosmos2_sim.expressions import DrawExpressions, Expressions, ReferringExpression

WITH_ONE_PHRASE = (
    "pick up {}", "hand me {}", "give me {}, please", "grab {}", "bring me {}", "lift {}", "take {}",
    "point at {}", "look at {}", "could you pass me {}?", "hold {}", "fetch {} for me",
    "touch {} gently", "please get {}", "find {}",
)  # fmt: skip
WITH_TWO_PHRASES = (
    "push {} towards {}", "put {} next to {}", "move {} to the left of {}", "move {} to the right of {}",
    "place {} in front of {}", "put {} behind {}", "swap {} and {}", "slide {} to {}",
    "bring {} to {}", "pick up {}, then {}",
)  # fmt: skip
INTO = ("put {} into {}", "drop {} into {}", "take {} and put it into {}", "place {} in {}")
ONTO = ("put {} on {}", "place {} onto {}", "stack {} on {}", "set {} down on {}")
GOALS = {"bowl": INTO, "mug": INTO, "plate": ONTO, "box": ONTO, "cube": ONTO}
ABSENT_SHARE = 0.12
MAX_COMMANDS = 100  # drawn for an image
KINDS_OF_ONE_PHRASE = ("attribute", "size", "position", "relation")
KINDS_OF_TWO_PHRASES = ("attribute", "size", "position")


def command_items(
    things: VisibleThings,
    rng: Generator,
    kinds: Mapping[str, DrawExpressions],
    absent_share: float = ABSENT_SHARE,
) -> Iterator[Item]:
    """Yield items with commands, as long as there is something to name. Commands may be repeated.

    Args:
        kinds: functions that draw the phrases of KINDS_OF_ONE_PHRASE and of the kind "absent".
        absent_share: the share of phrases of the kind "absent".
    """
    supply = _ExpressionSupply(things, rng, kinds, absent_share)
    for _ in range(MAX_COMMANDS):
        item = _one_phrase(supply, rng) if rng.random() < 0.5 else _two_phrases(supply, rng)
        if item:
            yield item


class _ExpressionSupply:
    """Expressions of each kind; a kind starts again after its last expression."""

    def __init__(
        self,
        things: VisibleThings,
        rng: Generator,
        kinds: Mapping[str, DrawExpressions],
        absent_share: float,
    ) -> None:
        self.things, self.rng, self.kinds, self.absent_share = things, rng, kinds, absent_share
        self.expressions: dict[str, Expressions] = {}

    def take(self, kinds: tuple[str, ...]) -> ReferringExpression | None:
        """Return an expression of one of the kinds, or of the kind "attribute" if the kind drawn has none."""
        if self.rng.random() < self.absent_share:
            kinds = ("absent",)
        drawn = choose(kinds, self.rng)
        return self._next(drawn) or self._next("attribute")

    def _next(self, kind: str) -> ReferringExpression | None:
        for _ in range(2):
            if kind not in self.expressions:
                self.expressions[kind] = self.kinds[kind](self.things, self.rng)
            if (expression := next(self.expressions[kind], None)) is not None:
                return expression
            del self.expressions[kind]
        return None


def _one_phrase(supply: _ExpressionSupply, rng: Generator) -> Item | None:
    expression = supply.take(KINDS_OF_ONE_PHRASE)
    return _item(choose(WITH_ONE_PHRASE, rng), expression) if expression else None


def _two_phrases(supply: _ExpressionSupply, rng: Generator) -> Item | None:
    """Return a command with two phrases; if the second can be a goal, it is one half of the time."""
    first, second = supply.take(KINDS_OF_TWO_PHRASES), supply.take(KINDS_OF_TWO_PHRASES)
    if first is None or second is None:
        return None
    same = (first.thing or first.words) == (second.thing or second.words)
    if same or " the " in second.words:  # `on the cube on the left` would be ambiguous
        return _item(choose(WITH_ONE_PHRASE, rng), first)
    goals = GOALS.get(second.thing.shape, ()) if second.thing else ()
    templates = goals if goals and rng.random() < 0.5 else WITH_TWO_PHRASES
    return _item(choose(templates, rng), first, second)


def _item(template: str, *expressions: ReferringExpression) -> Item:
    plain = template.split("{}")
    parts: list[str | MarkedWords] = [plain[0]]
    for expression, following in zip(expressions, plain[1:], strict=True):
        parts += MarkedWords(f"the {expression.words}", expression.boxes), following
    return Item("locate", grounded(*parts), kind="command")
