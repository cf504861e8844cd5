"""A film of one scene: a camera that moves around the table, and commands that stay valid meanwhile.

The camera swings around the table, moves away and back, rises and sinks. At time 0 it is where the scene was
drawn from, so the first image is the shot of the scene.

The words of a command must hold from every view: each phrase fits one thing of the scene and no other,
visible or not, or none at all. So these commands describe things by colour, shape, material and size, and
not by left and right.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from kosmos2_core.answers import Answer, Entity
from kosmos2_core.boxes import cells_of_box
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import GroundedText, Phrase, write_markdown
from kosmos2_sim.commands import command_items
from kosmos2_sim.descriptions import VisibleThings, visible_things
from kosmos2_sim.expressions import (
    DrawExpressions,
    absent_expressions,
    attribute_expressions,
    size_expressions,
)
from kosmos2_sim.layout import SceneLayout, draw_layout
from kosmos2_sim.relations import box_of
from kosmos2_sim.shot import CameraView, Shot, Thing
from kosmos2_sim.tabletop import Tabletop

# Amplitudes and periods of the camera's motion. The periods differ, so that the path does not repeat soon.
AZIMUTH, AZIMUTH_S = 35.0, 20.0  # degrees, to each side
ELEVATION, ELEVATION_S = 6.0, 13.0  # degrees, up and down
FARTHEST, DISTANCE_S = 1.2, 9.0  # multiple of the first distance

# The kinds of phrases in a command; kinds that depend on the view are replaced by ones that do not.
VIEW_INDEPENDENT_KINDS: Mapping[str, DrawExpressions] = {
    "attribute": attribute_expressions,
    "size": size_expressions,
    "position": attribute_expressions,
    "relation": size_expressions,
    "absent": absent_expressions,
}


@dataclass(frozen=True)
class Film:
    """One scene, seen by a camera that moves around it or stands still."""

    tabletop: Tabletop
    layout: SceneLayout
    seed: int
    split: str
    still: bool

    def shoot(self, time_s: float) -> Shot:
        """Return the image at a time since the start of the film."""
        view = self.layout.view if self.still else moved_view(self.layout.view, time_s)
        return self.tabletop.shoot_layout(replace(self.layout, view=view), self.seed, self.split)


def draw_film(tabletop: Tabletop, seed: int, split: str, still: bool = False) -> Film:
    """Draw the scene of a split and a seed to film it.

    Args:
        still: the camera does not move.
    """
    layout = draw_layout(seed, split, width=tabletop.width, height=tabletop.height)
    return Film(tabletop, layout, seed, split, still)


def moved_view(view: CameraView, time_s: float) -> CameraView:
    """Return the view at a time of a camera that started from a view of the table."""
    target_m = view.table_point(view.width / 2, view.height / 2)
    if target_m is None:
        raise InputError("the camera does not look at the table: it cannot be moved around it.")
    phase = 2 * math.pi * time_s
    return view.orbited(
        np.array([*target_m, 0.0]),
        azimuth=AZIMUTH * math.sin(phase / AZIMUTH_S),
        elevation=ELEVATION * math.sin(phase / ELEVATION_S),
        distance=1 + (FARTHEST - 1) * (1 - math.cos(phase / DISTANCE_S)) / 2,
    )


@dataclass(frozen=True)
class FilmCommand:
    """A command that is valid for a part of a film, with the things that its phrases refer to."""

    id: str
    text: str
    phrases: tuple[Phrase, ...]  # to be grounded, without boxes
    marks: tuple[int | None, ...]  # the mark of each phrase's thing; None: the scene has no such thing

    @property
    def markdown(self) -> str:
        """The command as it is sent to a robot: `put [the egg] into [the bowl]`."""
        return write_markdown(GroundedText(self.text, self.phrases))

    def is_answerable(self, shot: Shot) -> bool:
        """Return whether all things that it refers to are visible well enough in an image."""
        return _marks(visible_things(shot).referents) >= {mark for mark in self.marks if mark is not None}

    def targets(self, shot: Shot) -> tuple[Thing | None, ...]:
        """Return the thing that each phrase refers to."""
        by_mark = {thing.mark: thing for thing in shot.things}
        return tuple(None if mark is None else by_mark[mark] for mark in self.marks)

    def answer(self, shot: Shot) -> Answer:
        """Return the right answer in an image in which the command is answerable."""
        pairs = zip(self.phrases, self.targets(shot), strict=True)
        return Answer(self.text, tuple(self._entity(phrase, thing) for phrase, thing in pairs))

    def _entity(self, phrase: Phrase, thing: Thing | None) -> Entity:
        words = self.text[phrase.start : phrase.end]
        if thing is None:
            return Entity(words, phrase.start, phrase.end, (), presence=0.0)
        box = replace(box_of(thing), score=1.0)
        return Entity(words, phrase.start, phrase.end, (box,), 1.0, (cells_of_box(box),))


def draw_command(
    command_id: str, first: Shot, last: Shot, rng: Generator, previous: Collection[str]
) -> FilmCommand:
    """Draw a command about things that are visible in the first and in the last image of its time.

    Args:
        previous: texts of earlier commands, which are not repeated if there is another one.

    Raises:
        InputError: nothing in the scene can be described independently of the view.
    """
    at_end = {thing.mark: thing for thing in last.things}
    things_in_both = tuple(
        replace(thing, material_shows=thing.material_shows and at_end[thing.mark].material_shows)
        for thing in first.things
    )
    marks = _marks(visible_things(first).referents) & _marks(visible_things(last).referents)
    referents = tuple(thing for thing in things_in_both if thing.mark in marks)
    seen = *things_in_both, *first.clutter
    things = VisibleThings(referents, seen=seen, glimpsed=seen)
    drawn = [item.text for item in command_items(things, rng, VIEW_INDEPENDENT_KINDS)]
    if not drawn:
        raise InputError(
            f"nothing on the table of split {first.split}, seed {first.seed} can be described in words that"
            " hold from every view: choose another seed."
        )
    text = next((candidate for candidate in drawn if candidate.text not in previous), drawn[0])
    by_box = {box_of(thing): thing.mark for thing in referents}
    return FilmCommand(
        command_id,
        text.text,
        tuple(replace(phrase, boxes=None) for phrase in text.phrases),
        tuple(by_box[phrase.boxes[0]] if phrase.boxes else None for phrase in text.phrases),
    )


def _marks(things: tuple[Thing, ...]) -> set[int]:
    return {thing.mark for thing in things}
