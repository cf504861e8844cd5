"""All benchmarks, by the names of their commands."""

from kosmos2_eval.benchmarks.benchmark import Benchmark
from kosmos2_eval.benchmarks.flickr_captions import CAPTION
from kosmos2_eval.benchmarks.flickr_entities import FLICKR30K
from kosmos2_eval.benchmarks.language import LANGUAGE
from kosmos2_eval.benchmarks.ocrbench import OCRBENCH
from kosmos2_eval.benchmarks.refcoco import REFCOCO, REFCOCO_PLUS, REFCOCOG
from kosmos2_eval.benchmarks.reg import REG
from kosmos2_eval.benchmarks.scienceqa import SCIENCEQA
from kosmos2_eval.benchmarks.seed_bench import SEED_BENCH
from kosmos2_eval.benchmarks.vqa import VQAV2

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
