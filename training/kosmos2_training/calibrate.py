"""Calibration: fit a model's scores, and its presence threshold, to data it was not trained on.

    gather the model's logits for each phrase, once
    on one half of the images: for each spread and temperature, the slope under which the outcomes are
    likeliest; then the presence threshold that keeps false alarms at a stated rate
    on the other half: calibration error, false alarms and misses before and after

Only the model's logits are kept, and each calibration is tried on them as the engine would do it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch

from kosmos2_core.box_scoring import Evidence, SearchOptions, score_boxes, trim_evidence
from kosmos2_core.calibration import MIN_PRESENCE, Calibration
from kosmos2_core.engine import Engine
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import Phrase
from kosmos2_core.localizer import MAX_STEP, finish, gather_evidence, make_entity
from kosmos2_core.packing import prefill_packed
from kosmos2_core.prompts import Prompt, locate_prompt_ids
from kosmos2_core.requests import Locate
from kosmos2_data.records import Item
from kosmos2_eval.metrics import mean, negative_log_likelihood, standard_error
from kosmos2_eval.scenes import LocateExample, Sample, locate_example, request_of, sample_batches

TEMPERATURES = (0.1, 3.0)
SLOPES = (0.1, 10.0)
SPREADS = (0.0, 0.5, 0.8, 1.1)
FALSE_ALARMS = 0.03  # share of the absent phrases that may be taken for present
THOROUGH = SearchOptions(coverage=1.0)  # as many corners as any temperature might try

CasesAt = Callable[[Calibration], Sequence[LocateExample]]


@dataclass(frozen=True, eq=False)
class Heard:
    """A phrase, and what the model says about where it is."""

    image: int
    item: Item
    phrase: Phrase
    evidence: Evidence


@dataclass(frozen=True)
class Fitted:
    calibration: Calibration
    gain: float  # in mean IoU by refining, on the half that was fitted to
    gain_error: float  # its standard error


def hear(engine: Engine, samples: Iterable[Sample], images_at_once: int = 8) -> list[Heard]:
    """Every phrase that the records say to locate."""
    heard: list[Heard] = []
    for first, batch in sample_batches(samples, images_at_once):
        views = engine.look_many([[pixels] for pixels, _ in batch])
        asked: list[tuple[int, Item, Phrase]] = []
        rows: list[Prompt] = []
        for number, (view, (_, record)) in enumerate(zip(views, batch, strict=True)):
            for item in (one for one in record.items if one.task == "locate"):
                ask = request_of(item)
                assert isinstance(ask, Locate)
                rows += [Prompt(view.features, ids) for ids in locate_prompt_ids(engine.tokenizer, ask)]
                asked += [(first + number, item, phrase) for phrase in item.text.phrases]
        said = evidence_of(engine, rows)
        heard += [Heard(*one, evidence) for one, evidence in zip(asked, said, strict=True)]
    return heard


@torch.inference_mode()
def evidence_of(engine: Engine, rows: Sequence[Prompt]) -> list[Evidence]:
    found: dict[int, Evidence] = {}
    for packed in prefill_packed(engine.prefiller, rows, THOROUGH.max_corners, MAX_STEP):
        searches = [THOROUGH] * len(packed.indices)
        found |= zip(packed.indices, finish(gather_evidence(packed, engine.control, searches)), strict=True)
    return [found[place] for place in range(len(rows))]


@torch.inference_mode()
def cases_at(heard: Sequence[Heard], grid: int, calibration: Calibration) -> list[LocateExample]:
    """What the engine would answer with this calibration, if every phrase got a box."""
    search = calibration.apply_to(SearchOptions())
    cases = []
    for one in heard:
        text, phrase = one.item.text, one.phrase
        found = score_boxes(trim_evidence(one.evidence, search), grid, search)
        entity = make_entity(text.words_of(phrase), phrase.start, phrase.end, found, calibration)
        cases.append(locate_example(one.image, one.item, phrase, entity))
    return cases


def halves(heard: Sequence[Heard]) -> tuple[list[Heard], list[Heard]]:
    """To fit, and to report on: no image is in both."""
    return [one for one in heard if one.image % 2 == 0], [one for one in heard if one.image % 2 == 1]


def fit(cases_at: CasesAt, false_alarms: float = FALSE_ALARMS) -> Fitted:
    """The calibration under which the outcomes are likeliest.

    Args:
        false_alarms: the share of absent phrases that the presence threshold may let pass.
    """

    @cache
    def fitted(spread: float, temperature: float) -> tuple[float, float]:
        """The surprise, and the slope it is least at."""
        cases = cases_at(Calibration(temperature, spread=spread))
        slope = fit_slope(cases)
        return surprise(cases, slope), slope

    def temperature_of(spread: float, rounds: int) -> float:
        return lowest(lambda temperature: fitted(spread, temperature)[0], *TEMPERATURES, rounds=rounds)

    spread = min(SPREADS, key=lambda spread: fitted(spread, temperature_of(spread, rounds=1))[0])
    temperature = temperature_of(spread, rounds=2)
    found = Calibration(temperature, fitted(spread, temperature)[1], spread)
    gain, error = refining_gain(cases_at(found), cases_at(replace(found, refine=True)))
    threshold = presence_threshold(cases_at(found), false_alarms)
    found = replace(found, refine=gain > error, min_presence=threshold)
    return Fitted(found, gain, error)


def presence_threshold(cases: Sequence[LocateExample], false_alarms: float) -> float:
    """The lowest presence threshold that lets at most this share of the absent phrases pass.

    Returns:
        A value between two presences that occur; MIN_PRESENCE if no phrase is absent.
    """
    absent = sorted((case.presence for case in cases if not case.truth), reverse=True)
    if not absent:
        return MIN_PRESENCE
    refused = absent[math.floor(false_alarms * len(absent))]  # the highest presence that must not pass
    above = min((case.presence for case in cases if case.presence > refused), default=1.0)
    return (refused + above) / 2


def fit_slope(cases: Sequence[LocateExample]) -> float:
    """Of cases whose scores are the model's own."""
    right = sum(one.right for one in cases)
    if right in (0, len(cases)):
        amount = "none" if right == 0 else "all"
        raise InputError(
            f"of {len(cases)} answers {amount} are right, which says nothing about scores: take other data,"
            " or calibrate when the model has learnt more."
        )
    return lowest(lambda slope: surprise(cases, slope), *SLOPES, rounds=6)


def surprise(cases: Sequence[LocateExample], slope: float) -> float:
    """The negative log-likelihood, with scores whose log-odds are scaled so."""
    score = Calibration(slope=slope).score
    loss = negative_log_likelihood([score(one.score) for one in cases], [one.right for one in cases])
    assert loss is not None
    return loss


def refining_gain(plain: Sequence[LocateExample], refined: Sequence[LocateExample]) -> tuple[float, float]:
    """What refining adds to the mean IoU of what is there, and the standard error of that."""
    both = [(one, other) for one, other in zip(plain, refined, strict=True) if one.truth]
    gains = [other.iou - one.iou for one, other in both]
    return mean(gains) or 0.0, standard_error(gains, [one.image for one, _ in both]) or math.inf


def lowest(
    loss: Callable[[float], float], low: float, high: float, points: int = 7, rounds: int = 3
) -> float:
    """Where the loss is least: the best of a few points, evenly spread in the logarithm, then the same
    between its neighbours."""
    known: dict[float, float] = {}
    for _ in range(rounds):
        ratio = (high / low) ** (1 / (points - 1))
        tried = [low * ratio**number for number in range(points)]
        known |= {value: loss(value) for value in tried if value not in known}
        best = min(known, key=lambda value: known[value])
        low, high = max(best / ratio, low), min(best * ratio, high)
    return best
