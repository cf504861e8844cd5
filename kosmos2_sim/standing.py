"""Commands that stand while the camera moves, and the right answer to them at any moment.

Their words hold from wherever one looks: each fits one thing of the scene and no other, seen or not, or
none at all. So they tell things by colour, shape, material and size, never by left and right.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from numpy.random import Generator

from kosmos2_core.answers import Answer, Entity
from kosmos2_core.boxes import cells_of_box
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import GroundedText, Phrase, write_markdown
from kosmos2_sim.commands import command
from kosmos2_sim.comparing import size
from kosmos2_sim.descriptions import Things, things_of
from kosmos2_sim.expressions import absent, attribute
from kosmos2_sim.referring import Draw
from kosmos2_sim.relations import box_of
from kosmos2_sim.truth import Shot, Thing

# Where a command would tell a thing by its place in the image, it does so by what it is.
FROM_ANYWHERE: Mapping[str, Callable[[Things, Generator], Draw]] = {
    "attribute": attribute,
    "size": size,
    "position": attribute,
    "relation": size,
    "absent": absent,
}


@dataclass(frozen=True)
class Standing:
    id: str
    text: str
    phrases: tuple[Phrase, ...]  # to be grounded
    marks: tuple[int | None, ...]  # of the thing that each phrase means; None: there is no such thing

    @property
    def markdown(self) -> str:
        """As it is given to a robot: `put [the egg] into [the bowl]`."""
        return write_markdown(GroundedText(self.text, self.phrases))

    def holds(self, shot: Shot) -> bool:
        """Whether all that it means is seen well enough to be meant."""
        return _marks(things_of(shot).referents) >= {mark for mark in self.marks if mark is not None}

    def meant(self, shot: Shot) -> tuple[Thing | None, ...]:
        """The thing of each phrase."""
        by_mark = {thing.mark: thing for thing in shot.things}
        return tuple(None if mark is None else by_mark[mark] for mark in self.marks)

    def answer(self, shot: Shot) -> Answer:
        """What is true of it in an image where it holds."""
        meant = zip(self.phrases, self.meant(shot), strict=True)
        return Answer(self.text, tuple(self._entity(phrase, thing) for phrase, thing in meant))

    def _entity(self, phrase: Phrase, thing: Thing | None) -> Entity:
        words = self.text[phrase.start : phrase.end]
        if thing is None:
            return Entity(words, phrase.start, phrase.end, (), presence=0.0)
        box = replace(box_of(thing), score=1.0)
        return Entity(words, phrase.start, phrase.end, (box,), 1.0, (cells_of_box(box),))


def stand(command_id: str, first: Shot, last: Shot, rng: Generator, said: Collection[str]) -> Standing:
    """A new command, about what is seen in the first and the last image of its time. said: texts of earlier
    ones, which it avoids where it can."""
    then = {thing.mark: thing for thing in last.things}
    both = tuple(
        replace(thing, material_shows=thing.material_shows and then[thing.mark].material_shows)
        for thing in first.things
    )
    meant = _marks(things_of(first).referents) & _marks(things_of(last).referents)
    referents = tuple(thing for thing in both if thing.mark in meant)
    things = Things(referents, seen=both, glimpsed=both)
    drawn = [item.text for item in command(things, rng, FROM_ANYWHERE)]
    if not drawn:
        raise InputError(
            f"nothing on the table of split {first.split}, seed {first.seed} can be told in words from"
            " wherever one looks: choose another seed."
        )
    text = next((one for one in drawn if one.text not in said), drawn[0])
    by_box = {box_of(thing): thing.mark for thing in referents}
    return Standing(
        command_id,
        text.text,
        tuple(replace(phrase, boxes=None) for phrase in text.phrases),
        tuple(by_box[phrase.boxes[0]] if phrase.boxes else None for phrase in text.phrases),
    )


def _marks(things: tuple[Thing, ...]) -> set[int]:
    return {thing.mark for thing in things}
