"""Calibration: fit the scores of a model, and its presence threshold, to data it was not trained on.

    gather the model's evidence for each phrase, once
    on one half of the images: the weights of the evidence for presence, if more than `<object>` is wanted;
    for each spread and temperature, the slope with the lowest Brier score; then the presence
    threshold that keeps false alarms at a stated rate
    on the other half: calibration error, false alarms and misses before and after

Only the evidence is kept. Each calibration is tried on it in the same way as the engine applies it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from kosmos2_core.box_scoring import Evidence, SearchOptions, score_boxes, trim_evidence
from kosmos2_core.box_search import finish
from kosmos2_core.calibration import MIN_PRESENCE, Calibration
from kosmos2_core.engine import Engine
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import Phrase
from kosmos2_core.localizer import make_entity
from kosmos2_core.presence import EvidenceOptions, PresenceWeights, clipped
from kosmos2_core.prompts import Prompt, locate_prompt_ids
from kosmos2_core.requests import Locate
from kosmos2_data.records import Item
from kosmos2_eval.metrics import auroc, brier, mean, standard_error
from kosmos2_eval.scenes import LocateExample, Sample, locate_example, request_of, sample_batches

TEMPERATURES = (0.1, 3.0)
SLOPES = (0.1, 10.0)
SPREADS = (0.0, 0.5, 0.8, 1.1)
ALL_CORNERS = SearchOptions(coverage=1.0)  # tries as many corners as a search with any temperature
RIDGE = (
    1.0  # penalty on squared weights of standardised evidence: they stay finite if it separates all phrases
)

BY_OBJECT = EvidenceOptions()

ExamplesAt = Callable[[Calibration], Sequence[LocateExample]]


@dataclass(frozen=True, eq=False)
class PhraseEvidence:
    """A phrase, and the model's evidence about where it is."""

    image: int
    item: Item
    phrase: Phrase
    evidence: Evidence


@dataclass(frozen=True)
class CalibrationFit:
    """A fitted calibration.

    Args:
        gain: what refining adds to the mean IoU, on the half of the images that was fitted to.
        gain_error: the standard error of the gain.
    """

    calibration: Calibration
    gain: float
    gain_error: float


@torch.inference_mode()
def gather_phrases(
    engine: Engine,
    samples: Iterable[Sample],
    search: SearchOptions = ALL_CORNERS,
    options: EvidenceOptions = BY_OBJECT,
) -> list[PhraseEvidence]:
    """Return the evidence for every phrase of the `locate` items of the samples.

    Args:
        engine: the model.
        samples: images with their records.
        search: which corners are tried.
        options: the evidence for presence.
    """
    phrases: list[PhraseEvidence] = []
    for first, batch in sample_batches(samples):
        views = engine.look_many([[pixels] for pixels, _ in batch])
        asked: list[tuple[int, Item, Phrase]] = []
        prompts: list[Prompt] = []
        for number, (view, (_, record)) in enumerate(zip(views, batch, strict=True)):
            for item in (item for item in record.items if item.task == "locate"):
                request = request_of(item)
                assert isinstance(request, Locate)
                ids_of_phrases = locate_prompt_ids(engine.tokenizer, request)
                prompts += [Prompt(view.features, ids) for ids in ids_of_phrases]
                asked += [(first + number, item, phrase) for phrase in item.text.phrases]
        found = finish(engine.localizer.evidence(prompts, search, options))
        phrases += [PhraseEvidence(*labels, known) for labels, known in zip(asked, found, strict=True)]
    return phrases


@torch.inference_mode()
def examples_at(
    phrases: Sequence[PhraseEvidence], grid: int, calibration: Calibration
) -> list[LocateExample]:
    """Return what the engine would answer with a calibration, if every phrase got its best box."""
    options, weights = calibration.apply_to(SearchOptions()), calibration.presence
    examples = []
    for known in phrases:
        text, phrase, evidence = known.item.text, known.phrase, known.evidence
        if weights:
            evidence = replace(evidence, presence=weights.presence(evidence.values))
        found = score_boxes(trim_evidence(evidence, options), grid, options)
        entity = make_entity(text.words_of(phrase), phrase.start, phrase.end, found, calibration)
        examples.append(locate_example(known.image, known.item, phrase, entity))
    return examples


def halves(phrases: Sequence[PhraseEvidence]) -> tuple[list[PhraseEvidence], list[PhraseEvidence]]:
    """Divide phrases into those to fit to and those to report on; no image is in both."""
    even = [phrase for phrase in phrases if phrase.image % 2 == 0]
    return even, [phrase for phrase in phrases if phrase.image % 2 == 1]


def fit_presence(phrases: Sequence[PhraseEvidence], options: EvidenceOptions) -> PresenceWeights:
    """Return the logistic combination of evidence with the highest likelihood of what is present.

    Raises:
        InputError: all phrases are present, or all are absent.
    """
    present = torch.tensor([bool(known.phrase.boxes) for known in phrases], dtype=torch.float64)
    count = int(present.sum())
    if count in (0, len(phrases)):
        missing = "present" if count == 0 else "absent"
        raise InputError(
            f"no phrase is {missing}, so evidence for presence cannot be fitted: add {missing} phrases to the"
            " data, absent ones marked `()`."
        )
    values = torch.tensor(
        [[clipped(known.evidence.values[kind]) for kind in options.kinds] for known in phrases],
        dtype=torch.float64,
    )
    mean, deviation = values.mean(0), values.std(0).clamp(min=1e-6)
    weights, bias = _logistic_regression((values - mean) / deviation, present)
    weights = weights / deviation
    bias = bias - weights @ mean
    return PresenceWeights(
        dict(zip(options.kinds, weights.tolist(), strict=True)), bias.item(), options.question
    )


def _logistic_regression(values: Tensor, outcomes: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights (k,) and bias of a logistic regression of outcomes (n,) on values (n, k)."""
    weights = torch.zeros(values.shape[1], dtype=values.dtype, requires_grad=True)
    bias = torch.zeros((), dtype=values.dtype, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        odds = values @ weights + bias
        entropy = binary_cross_entropy_with_logits(odds, outcomes, reduction="sum")
        total: Tensor = entropy + RIDGE / 2 * weights.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return weights.detach(), bias.detach()


def presence_auroc(phrases: Sequence[PhraseEvidence], value: Callable[[Evidence], float]) -> float | None:
    """Return how often a present phrase has a higher value of evidence than an absent one."""
    present, absent = (
        [value(known.evidence) for known in phrases if bool(known.phrase.boxes) == wanted]
        for wanted in (True, False)
    )
    return auroc(present, absent)


def fit(
    examples_with: ExamplesAt,
    false_alarms: float,
    presence: PresenceWeights | None = None,
    spreads: Sequence[float] = SPREADS,
) -> CalibrationFit:
    """Return the calibration with the lowest Brier score.

    The Brier score is bounded: the likelihood of the outcomes would let the few answers that are wrong with
    certainty decide for all the others.

    Args:
        examples_with: returns the evaluated phrases with a calibration.
        false_alarms: the share of absent phrases that the presence threshold may let pass.
        presence: the combination of evidence that gives the presence; None: the probability of `<object>`.
        spreads: the values of `spread` to choose from.
    """

    @cache
    def fitted(spread: float, temperature: float) -> tuple[float, float]:
        """Return the lowest Brier score, and its slope."""
        examples = examples_with(Calibration(temperature, spread=spread, presence=presence))
        slope = fit_slope(examples)
        return brier_with(examples, slope), slope

    def temperature_of(spread: float, rounds: int) -> float:
        return lowest(lambda temperature: fitted(spread, temperature)[0], *TEMPERATURES, rounds=rounds)

    spread = min(spreads, key=lambda spread: fitted(spread, temperature_of(spread, rounds=1))[0])
    temperature = temperature_of(spread, rounds=2)
    found = Calibration(temperature, fitted(spread, temperature)[1], spread, presence=presence)
    gain, error = refining_gain(examples_with(found), examples_with(replace(found, refine=True)))
    threshold = presence_threshold(examples_with(found), false_alarms)
    found = replace(found, refine=gain > error, min_presence=threshold)
    return CalibrationFit(found, gain, error)


def presence_threshold(examples: Sequence[LocateExample], false_alarms: float) -> float:
    """Return the lowest presence threshold that lets at most this share of the absent phrases pass.

    Returns:
        A value between two presences that occur; MIN_PRESENCE if no phrase is absent.
    """
    absent = sorted((example.presence for example in examples if not example.truth), reverse=True)
    if not absent:
        return MIN_PRESENCE
    refused = absent[math.floor(false_alarms * len(absent))]  # the highest presence that must not pass
    above = min((example.presence for example in examples if example.presence > refused), default=1.0)
    return (refused + above) / 2


def fit_slope(examples: Sequence[LocateExample]) -> float:
    """Return the slope with the lowest Brier score, for examples whose scores have the slope 1.

    Raises:
        InputError: all examples are right or all are wrong, so no slope can be fitted.
    """
    right = sum(example.right for example in examples)
    if right in (0, len(examples)):
        amount = "none" if right == 0 else "all"
        raise InputError(
            f"of {len(examples)} answers {amount} are right, so scores cannot be fitted: take other data, or"
            " calibrate after more training."
        )
    return lowest(lambda slope: brier_with(examples, slope), *SLOPES, rounds=6)


def brier_with(examples: Sequence[LocateExample], slope: float) -> float:
    """Return the Brier score with scores whose log-odds are multiplied by a slope."""
    score = Calibration(slope=slope).score
    loss = brier([score(example.score) for example in examples], [example.right for example in examples])
    assert loss is not None
    return loss


def refining_gain(plain: Sequence[LocateExample], refined: Sequence[LocateExample]) -> tuple[float, float]:
    """Return what refining adds to the mean IoU of present phrases, and the standard error of that."""
    pairs = [(before, after) for before, after in zip(plain, refined, strict=True) if before.truth]
    gains = [after.iou - before.iou for before, after in pairs]
    error = standard_error(gains, [before.image for before, _ in pairs])
    return mean(gains) or 0.0, error or math.inf


def lowest(
    loss: Callable[[float], float], low: float, high: float, points: int = 7, rounds: int = 3
) -> float:
    """Return the value between `low` and `high` with the lowest loss, by repeated grid search.

    A round tries points that are evenly spaced in the logarithm, between the neighbours of the best point of
    the round before.
    """
    known: dict[float, float] = {}
    for _ in range(rounds):
        ratio = (high / low) ** (1 / (points - 1))
        tried = [low * ratio**number for number in range(points)]
        known |= {value: loss(value) for value in tried if value not in known}
        best = min(known, key=lambda value: known[value])
        low, high = max(best / ratio, low), min(best * ratio, high)
    return best
