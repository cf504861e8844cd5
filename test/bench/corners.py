"""Measure how many first corners the box search needs: accuracy and calibration for each limit of the search.

    python test/bench/corners.py [PHRASES]

The phrases are those of unseen scenes of the split `standard`, PHRASES of them (default 1500). The model is
asked once for each reach, with the most corners; narrower searches are taken from its output. Prints a table
in Markdown.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import mean

from kosmos2_cli.samples import render_samples
from kosmos2_core.box_scoring import SearchOptions, score_boxes, trim_evidence
from kosmos2_core.calibration import Calibration
from kosmos2_core.engine import Engine
from kosmos2_core.localizer import make_entity
from kosmos2_eval.scenes import LocateExample, Sample, locate_example, locate_metrics
from kosmos2_training.calibrate import ALL_CORNERS, PhraseEvidence, gather_phrases

MODEL = Path(__file__).resolve().parents[2] / "models/tabletop-tiny"
FIRST_SEED = 0  # as `kosmos2 eval scenes`
REACHES = (0, SearchOptions.reach)
COVERAGES = (0.5, 0.7, 0.8, 0.9, 0.95)
MAX_CORNERS = (1, 2, 4, 8, 16)


def limited(samples: Iterable[Sample], wanted: int) -> Iterator[Sample]:
    """Yield samples up to the image that completes so many phrases to locate."""
    for pixels, record in samples:
        yield pixels, record
        wanted -= sum(len(item.text.phrases) for item in record.items if item.task == "locate")
        if wanted <= 0:
            return


class Scorer:
    """Scores what searches find. Searches that try the same corners of a phrase find the same."""

    def __init__(
        self, phrases: list[PhraseEvidence], grid: int, calibration: Calibration, reach: int
    ) -> None:
        self.phrases, self.grid, self.calibration = phrases, grid, calibration
        self.options = calibration.apply_to(SearchOptions(reach=reach))
        self.example = cache(self._example)

    def row(self, search: SearchOptions) -> str:
        options = self.calibration.apply_to(search)
        corners = [len(trim_evidence(known.evidence, options).tried) for known in self.phrases]
        examples = [self.example(number, count) for number, count in enumerate(corners)]
        metrics = locate_metrics(examples)
        figures = (
            f"{search.reach}",
            f"{search.coverage:g}",
            f"{search.max_corners}",
            f"{mean(corners):.2f}",
            f"{metrics['accuracy']:.4f} ± {metrics['accuracy_error']:.4f}",
            f"{metrics['mean_iou']:.4f}",
            f"{metrics['calibration_error']:.4f}",
            f"{metrics['brier']:.4f}",
        )
        return f"| {' | '.join(figures)} |"

    def _example(self, number: int, count: int) -> LocateExample:
        """Return what a search finds that tries `count` corners of a phrase."""
        known, evidence = self.phrases[number], self.phrases[number].evidence
        trimmed = replace(evidence, tried=evidence.tried[:count], second=evidence.second[:count])
        found, phrase = score_boxes(trimmed, self.grid, self.options), known.phrase
        words = known.item.text.words_of(phrase)
        entity = make_entity(words, phrase.start, phrase.end, found, self.calibration)
        return locate_example(known.image, known.item, phrase, entity)


def main(wanted: int) -> None:
    engine = Engine.load(MODEL, device="cpu")
    samples = list(limited(render_samples("standard", FIRST_SEED), wanted))
    for reach in REACHES:
        phrases = gather_phrases(engine, samples, replace(ALL_CORNERS, reach=reach))
        if reach == REACHES[0]:
            print_head(phrases)
        scorer = Scorer(phrases, engine.control.grid, engine.calibration or Calibration(), reach)
        for most in MAX_CORNERS:
            for coverage in COVERAGES:
                search = SearchOptions(coverage=coverage, reach=reach, max_corners=most)
                print(scorer.row(search), flush=True)


def print_head(phrases: list[PhraseEvidence]) -> None:
    absent = sum(not known.phrase.boxes for known in phrases)
    print(f"{len(phrases)} phrases, {absent} of them absent, in {phrases[-1].image + 1} images")
    print(
        "| reach | coverage | `max_corners` | corners tried | accuracy | mean IoU | calibration error"
        " | Brier score |"
    )
    print("|---|---|---|---|---|---|---|---|")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1500)
