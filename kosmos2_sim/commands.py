"""Commands to a robot about the things of an image: `put [the egg](..) into [the bowl](..)`.

The templates are such that `kosmos2_core.command_parser` marks the same words in them when they come
unmarked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from numpy.random import Generator

from kosmos2_data.records import Item
from kosmos2_sim.descriptions import Things, choose
from kosmos2_sim.marked import Marked, marked
from kosmos2_sim.referring import Draw, Referring

OF_ONE = (
    "pick up {}", "hand me {}", "give me {}, please", "grab {}", "bring me {}", "lift {}", "take {}",
    "point at {}", "look at {}", "could you pass me {}?", "hold {}", "fetch {} for me",
    "touch {} gently", "please get {}", "find {}",
)  # fmt: skip
OF_TWO = (
    "push {} towards {}", "put {} next to {}", "move {} to the left of {}", "move {} to the right of {}",
    "place {} in front of {}", "put {} behind {}", "swap {} and {}", "slide {} to {}",
    "bring {} to {}", "pick up {}, then {}",
)  # fmt: skip
INTO = ("put {} into {}", "drop {} into {}", "take {} and put it into {}", "place {} in {}")
ONTO = ("put {} on {}", "place {} onto {}", "stack {} on {}", "set {} down on {}")
GOALS = {"bowl": INTO, "mug": INTO, "plate": ONTO, "box": ONTO, "cube": ONTO}
ABSENT_SHARE = 0.12
MOST = 100  # commands drawn for an image
KINDS_OF_ONE = ("attribute", "size", "position", "relation")
KINDS_OF_TWO = ("attribute", "size", "position")


def command(
    things: Things,
    rng: Generator,
    kinds: Mapping[str, Callable[[Things, Generator], Draw]],
    absent_share: float = ABSENT_SHARE,
) -> Iterator[Item]:
    """Commands, as long as there is something to name; the same command may come twice.

    Args:
        kinds: draws the phrases of KINDS_OF_ONE, and of the kind "absent".
        absent_share: share of the phrases that are of the kind "absent".
    """
    supply = _Supply(things, rng, kinds, absent_share)
    for _ in range(MOST):
        item = _one_thing(supply, rng) if rng.random() < 0.5 else _two_things(supply, rng)
        if item:
            yield item


class _Supply:
    """Expressions of each kind, begun again when all were taken."""

    def __init__(
        self,
        things: Things,
        rng: Generator,
        kinds: Mapping[str, Callable[[Things, Generator], Draw]],
        absent_share: float,
    ) -> None:
        self.things, self.rng, self.kinds, self.absent_share = things, rng, kinds, absent_share
        self.draws: dict[str, Draw] = {}

    def take(self, kinds: tuple[str, ...]) -> Referring | None:
        """One of these kinds; of the first kind where there is none of the one drawn."""
        if self.rng.random() < self.absent_share:
            kinds = ("absent",)
        drawn = choose(kinds, self.rng)
        return self._next(drawn) or self._next("attribute")

    def _next(self, kind: str) -> Referring | None:
        for _ in range(2):
            if kind not in self.draws:
                self.draws[kind] = self.kinds[kind](self.things, self.rng)
            if (referring := next(self.draws[kind], None)) is not None:
                return referring
            del self.draws[kind]
        return None


def _one_thing(supply: _Supply, rng: Generator) -> Item | None:
    referring = supply.take(KINDS_OF_ONE)
    return _item(choose(OF_ONE, rng), referring) if referring else None


def _two_things(supply: _Supply, rng: Generator) -> Item | None:
    """Where the second can be a goal, half of the time it is."""
    first, second = supply.take(KINDS_OF_TWO), supply.take(KINDS_OF_TWO)
    if first is None or second is None:
        return None
    same = (first.thing or first.words) == (second.thing or second.words)
    if same or " the " in second.words:  # as in: on the cube on the left
        return _item(choose(OF_ONE, rng), first)
    goals = GOALS.get(second.thing.shape, ()) if second.thing else ()
    templates = goals if goals and rng.random() < 0.5 else OF_TWO
    return _item(choose(templates, rng), first, second)


def _item(template: str, *things: Referring) -> Item:
    plain = template.split("{}")
    parts: list[str | Marked] = [plain[0]]
    for thing, following in zip(things, plain[1:], strict=True):
        parts += Marked(f"the {thing.words}", thing.boxes), following
    return Item("locate", marked(*parts), kind="command")
