"""All benchmarks by the names of their commands."""

from kosmos2_eval.benchmarks.benchmark import Benchmark
from kosmos2_eval.benchmarks.captions import CAPTION, REG
from kosmos2_eval.benchmarks.grounding import FLICKR30K, REFCOCO, REFCOCO_PLUS, REFCOCOG
from kosmos2_eval.benchmarks.language import LANGUAGE
from kosmos2_eval.benchmarks.visual_questions import OCRBENCH, SCIENCEQA, SEED_BENCH, VQAV2

BENCHMARKS: dict[str, Benchmark] = {
    "refcoco": REFCOCO,
    "refcoco+": REFCOCO_PLUS,
    "refcocog": REFCOCOG,
    "flickr30k": FLICKR30K,
    "reg": REG,
    "caption": CAPTION,
    "vqav2": VQAV2,
    "seed-bench": SEED_BENCH,
    "scienceqa": SCIENCEQA,
    "ocrbench": OCRBENCH,
    "language": LANGUAGE,
}
