"""Commands:

  scenes      on simulated scenes that no training has seen, or on data of your own
  bag         on a recording of a robot
  diff        what changed from one evaluation to another

The paper's benchmarks, from their official files (docs/paper-benchmarks.md):

  refcoco, refcoco+, refcocog   where is what an expression says
  flickr30k                     where is each phrase of a caption
  reg, caption                  what is in a box, or in an image
  vqav2, scienceqa, ocrbench    questions about images
  seed-bench, language          which of several answers is the likeliest

kosmos2 eval COMMAND --help says more. Example:

  kosmos2 eval scenes --model models/mine --split all --out report
"""

from __future__ import annotations

import argparse

from kosmos2_cli.main import Subcommand, run_one

SUBCOMMANDS: dict[str, Subcommand] = {
    "scenes": Subcommand("a model on simulated scenes, or on data of your own", "kosmos2_cli.eval_scenes"),
    "bag": Subcommand("a model on a recording, or what the node answered then", "kosmos2_cli.eval_bag"),
    "diff": Subcommand("what changed from one evaluation to another", "kosmos2_cli.eval_diff"),
    "refcoco": Subcommand("RefCOCO: where is what an expression says", "kosmos2_cli.eval_benchmark"),
    "refcoco+": Subcommand("RefCOCO+: the same, without words of place", "kosmos2_cli.eval_benchmark"),
    "refcocog": Subcommand("RefCOCOg: the same, in longer expressions", "kosmos2_cli.eval_benchmark"),
    "flickr30k": Subcommand("Flickr30k Entities: where is each phrase", "kosmos2_cli.eval_benchmark"),
    "reg": Subcommand("RefCOCOg: what is in a box", "kosmos2_cli.eval_benchmark"),
    "caption": Subcommand("Flickr30k: what is in an image", "kosmos2_cli.eval_benchmark"),
    "vqav2": Subcommand("VQAv2: questions about images", "kosmos2_cli.eval_benchmark"),
    "seed-bench": Subcommand("SEED-Bench: the likeliest of four choices", "kosmos2_cli.eval_benchmark"),
    "scienceqa": Subcommand("ScienceQA: lettered options", "kosmos2_cli.eval_benchmark"),
    "ocrbench": Subcommand("OCRBench: text in images", "kosmos2_cli.eval_benchmark"),
    "language": Subcommand("eight tasks of language alone", "kosmos2_cli.eval_benchmark"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("command", choices=SUBCOMMANDS, metavar="COMMAND", help=", ".join(SUBCOMMANDS))
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="its own options")


def run(arguments: argparse.Namespace) -> int:
    name = arguments.command
    return run_one(f"eval {name}", SUBCOMMANDS[name], arguments.rest)
