"""Commands that stay valid while the camera moves; `reading` interprets them in every image."""

from dataclasses import replace

import numpy as np
import pytest
from reading import meant

from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import parse_markdown
from kosmos2_sim import film as film_module
from kosmos2_sim.film import draw_command, draw_film
from kosmos2_sim.tabletop import Tabletop


@pytest.fixture(scope="module")
def runs():
    """Three images of one film each, and commands about them."""
    runs = []
    with Tabletop(128, 96) as tabletop:
        for split in ("standard", "cluttered", "occluded"):
            for seed in range(2):
                film = draw_film(tabletop, seed, split)
                shots = [film.shoot(time_s) for time_s in (0, 1.5, 3)]
                rng, commands = np.random.default_rng(seed), []
                for number in range(8):
                    previous = [command.text for command in commands]
                    commands.append(draw_command(str(number), shots[0], shots[-1], rng, previous))
                runs.append((shots, commands))
    return runs


def test_each_phrase_fits_one_thing_of_the_whole_scene_or_none(runs):
    kinds = set()
    for shots, commands in runs:
        for shot in shots:
            for command in commands:
                for entity, mark in zip(command.answer(shot).phrases, command.marks, strict=True):
                    expected = [mark] if mark else []
                    assert [thing.mark for thing in meant(entity.phrase, shot.things)] == expected
                    kinds.add(mark is None)
    assert kinds == {True, False}


def test_the_answer_has_the_box_of_each_thing_and_none_for_absent_phrases(runs):
    for shots, commands in runs:
        for shot in shots:
            for command in commands:
                answer = command.answer(shot)
                assert answer.text == command.text
                for entity, thing in zip(answer.phrases, command.targets(shot), strict=True):
                    assert answer.text[entity.start : entity.end] == entity.phrase
                    if thing is None:
                        assert (entity.boxes, entity.presence) == ((), 0.0)
                    else:
                        [box], truth = entity.boxes, thing.box
                        assert (box.x1, box.y1, box.x2, box.y2) == (truth.x1, truth.y1, truth.x2, truth.y2)
                        assert (box.score, entity.presence, len(entity.cells)) == (1.0, 1.0, 1)


def test_commands_hold_at_both_ends_of_their_time_and_differ(runs):
    for shots, commands in runs:
        assert all(command.is_answerable(shot) for command in commands for shot in (shots[0], shots[-1]))
        assert len({command.text for command in commands}) == len(commands)


def test_a_command_is_not_answerable_when_its_thing_is_out_of_sight(runs):
    shots, commands = runs[0]
    command = next(command for command in commands if any(command.marks))
    [mark, *_] = filter(None, command.marks)
    hidden = [thing if thing.mark != mark else replace(thing, visible=0.2) for thing in shots[0].things]
    assert not command.is_answerable(replace(shots[0], things=tuple(hidden)))


def test_the_markdown_asks_and_does_not_answer(runs):
    for _, commands in runs:
        for command in commands:
            asked = parse_markdown(command.markdown)
            assert asked.text == command.text
            assert [(phrase.start, phrase.end) for phrase in asked.phrases] == [
                (phrase.start, phrase.end) for phrase in command.phrases
            ]
            assert all(phrase.boxes is None for phrase in asked.phrases)


def test_a_scene_without_a_possible_command_is_named_by_its_seed(runs, monkeypatch):
    monkeypatch.setattr(film_module, "command_items", lambda *_: iter(()))
    shots, _ = runs[1]
    with pytest.raises(InputError, match=r"split standard, seed 1 .* choose another seed"):
        draw_command("1", shots[0], shots[-1], np.random.default_rng(0), ())
