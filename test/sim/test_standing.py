"""Commands that stand while the camera moves: what they mean is judged by `reading`, in every image."""

from dataclasses import replace

import numpy as np
import pytest
from reading import meant

from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import parse_markdown
from kosmos2_sim import standing
from kosmos2_sim.film import draw_film
from kosmos2_sim.scene import Tabletop
from kosmos2_sim.standing import stand


@pytest.fixture(scope="module")
def runs():
    """Three images of one film each, and commands about them."""
    runs = []
    with Tabletop(128, 96) as tabletop:
        for split in ("standard", "cluttered", "occluded"):
            for seed in range(2):
                film = draw_film(tabletop, seed, split)
                shots = [film.shoot(time_s) for time_s in (0, 1.5, 3)]
                rng, said = np.random.default_rng(seed), []
                for number in range(8):
                    said.append(stand(str(number), shots[0], shots[-1], rng, [one.text for one in said]))
                runs.append((shots, said))
    return runs


def test_each_phrase_fits_one_thing_of_the_whole_scene_or_none(runs):
    kinds = set()
    for shots, said in runs:
        for shot in shots:
            for command in said:
                for entity, mark in zip(command.answer(shot).phrases, command.marks, strict=True):
                    assert [one.mark for one in meant(entity.phrase, shot.things)] == ([mark] if mark else [])
                    kinds.add(mark is None)
    assert kinds == {True, False}


def test_the_answer_has_the_thing_s_box_in_each_image_or_none_for_what_is_not_there(runs):
    for shots, said in runs:
        for shot in shots:
            for command in said:
                answer = command.answer(shot)
                assert answer.text == command.text
                for entity, thing in zip(answer.phrases, command.meant(shot), strict=True):
                    assert answer.text[entity.start : entity.end] == entity.phrase
                    if thing is None:
                        assert (entity.boxes, entity.presence) == ((), 0.0)
                    else:
                        [box], truth = entity.boxes, thing.box
                        assert (box.x1, box.y1, box.x2, box.y2) == (truth.x1, truth.y1, truth.x2, truth.y2)
                        assert (box.score, entity.presence, len(entity.cells)) == (1.0, 1.0, 1)


def test_commands_hold_at_both_ends_of_their_time_and_differ(runs):
    for shots, said in runs:
        assert all(command.holds(shots[0]) and command.holds(shots[-1]) for command in said)
        assert len({command.text for command in said}) == len(said)


def test_a_command_no_longer_holds_when_what_it_means_is_out_of_sight(runs):
    shots, said = runs[0]
    command = next(one for one in said if any(one.marks))
    [mark, *_] = filter(None, command.marks)
    hidden = [one if one.mark != mark else replace(one, visible=0.2) for one in shots[0].things]
    assert not command.holds(replace(shots[0], things=tuple(hidden)))


def test_the_markdown_asks_and_does_not_answer(runs):
    for _, said in runs:
        for command in said:
            asked = parse_markdown(command.markdown)
            assert asked.text == command.text
            assert [(one.start, one.end) for one in asked.phrases] == [
                (one.start, one.end) for one in command.phrases
            ]
            assert all(one.boxes is None for one in asked.phrases)


def test_where_nothing_can_be_said_one_sentence_tells_the_seed(runs, monkeypatch):
    monkeypatch.setattr(standing, "command", lambda *_: iter(()))
    shots, _ = runs[1]
    with pytest.raises(InputError, match=r"split standard, seed 1 .* choose another seed"):
        stand("1", shots[0], shots[-1], np.random.default_rng(0), ())
