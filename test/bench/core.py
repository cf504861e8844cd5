"""Compare the speed of the core with that of `transformers`, the peer, in one run.

Both have the full-size model with the same random weights. Prints a table and writes docs/benchmarks.md.
"""

from __future__ import annotations

import copy
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test/support"))

from peer import make_processor  # noqa: E402
from transformers import Kosmos2Config, Kosmos2ForConditionalGeneration  # noqa: E402

from kosmos2_core.checkpoint import assign_parameter, checkpoint_name  # noqa: E402
from kosmos2_core.config import Config  # noqa: E402
from kosmos2_core.decoding import Decoding  # noqa: E402
from kosmos2_core.engine import Engine  # noqa: E402
from kosmos2_core.model import Kosmos2  # noqa: E402
from kosmos2_core.requests import Caption, Locate  # noqa: E402
from kosmos2_core.tokenizer import Tokenizer  # noqa: E402

PHRASES = ["a mug", "the red bowl", "a can", "the table", "an old box", "a plate", "the left cup", "a bottle"]
BOX_TOKENS = 3  # <object>, two corners
RUNS = 3
PEER = "peer"


def main() -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    processor = make_processor(vocabulary_size=64001)
    peer, engine = make_models(processor, device)
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    peer, choice = fastest(peer, processor, image, device)
    print(choice, flush=True)
    rows = [
        *compare(
            {
                "8 phrases on one frame, one first corner each": locate(engine, image, PHRASES, 1),
                "8 phrases on one frame, 16 first corners each": locate(engine, image, PHRASES, 16),
            },
            lambda: ask_peer(peer, processor, image, PHRASES, BOX_TOKENS),
        ),
        *compare(
            {
                "1 phrase, one first corner": locate(engine, image, PHRASES[:1], 1),
                "1 phrase, 16 first corners": locate(engine, image, PHRASES[:1], 16),
            },
            lambda: ask_peer(peer, processor, image, PHRASES[:1], BOX_TOKENS),
        ),
        *compare(
            {"a caption of 32 tokens": caption(engine, image)},
            lambda: ask_peer(peer, processor, image, ["<grounding> An image of"], 32, no_repeat_ngram_size=3),
        ),
    ]
    report(rows, device, choice)


def make_models(processor, device) -> tuple[Kosmos2ForConditionalGeneration, Engine]:
    """Return the model of `transformers` and ours, with the same tensors."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    peer = Kosmos2ForConditionalGeneration(Kosmos2Config()).eval().to(device)
    torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        model = Kosmos2(Config())
    theirs = dict(peer.named_parameters())
    for name, _ in list(model.named_parameters()):
        assign_parameter(model, name, theirs[checkpoint_name(name)].data)
    model.decoder.fill_position_table()
    tokenizer = Tokenizer(json.loads(processor.tokenizer.backend_tokenizer.to_str()))
    return peer, Engine(model.eval(), tokenizer)


def fastest(peer, processor, image, device) -> tuple[Kosmos2ForConditionalGeneration, str]:
    """Return the peer in its fastest precision on this machine, and a sentence with the measured times.

    Not all CPUs have instructions for bfloat16.
    """
    peers = {"bfloat16": peer}
    if device.type == "cpu":
        peers["float32"] = copy.deepcopy(peer).float()
    times = {}
    for name, candidate in peers.items():
        for _ in range(2):  # the first run warms up
            start = time.perf_counter()
            ask_peer(candidate, processor, image, PHRASES[:1], BOX_TOKENS)
            times[name] = time.perf_counter() - start
    best = min(times, key=times.get)
    measured = " and ".join(f"{seconds:.2f} s in {name}" for name, seconds in times.items())
    return peers[best], f"`transformers` takes {measured} for one phrase, so it runs in {best}."


def locate(engine, image, phrases, corners) -> Callable[[], object]:
    """Return a function that locates phrases with so many first corners.

    The peer's counterpart is its greedy box, up to the second corner.
    """
    requests = [Locate(phrase, max_corners=corners) for phrase in phrases]
    return lambda: engine.look(image).run(*requests)


def caption(engine, image) -> Callable[[], object]:
    decoding = Decoding(max_new_tokens=32, released=True, scores=False)
    return lambda: engine.look(image).run(Caption(), decoding=decoding)


def ask_peer(peer, processor, image, phrases, tokens, **settings):
    texts = [p if p.startswith("<") else f"<grounding><phrase> {p}</phrase>" for p in phrases]
    processor.tokenizer.padding_side = "left"
    pictures = [Image.fromarray(image)] * len(texts)
    inputs = processor(images=pictures, text=texts, padding=True, return_tensors="pt").to(peer.device)
    with torch.inference_mode():
        return peer.generate(
            **inputs,
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            do_sample=False,
            use_cache=True,
            **settings,
        )


def compare(
    ours: dict[str, Callable[[], object]], theirs: Callable[[], object]
) -> list[tuple[str, float, float]]:
    """Return rows of a task, our seconds and the peer's.

    All take turns, and the fastest run of each counts, because other work on the machine only slows down.
    """
    times: dict[str, list[float]] = {name: [] for name in (*ours, PEER)}
    for _ in range(RUNS):
        for name, task in (ours | {PEER: theirs}).items():
            start = time.perf_counter()
            task()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - start)
    best = {name: min(measured) for name, measured in times.items()}
    for name in ours:
        print(
            f"{name}: {best[name]:.2f} s, peer {best[PEER]:.2f} s, {best[PEER] / best[name]:.1f} x",
            flush=True,
        )
    return [(name, best[name], best[PEER]) for name in ours]


def report(rows: list[tuple[str, float, float]], device: torch.device, choice: str) -> None:
    machine = torch.cuda.get_device_name() if device.type == "cuda" else processor_name()
    lines = [
        "# Benchmarks",
        "",
        "`make bench` measures and writes this page. It runs the full-size model (1.66 billion",
        "parameters) with the same random weights in this package, in bfloat16, and in `transformers`, with",
        "its key-value cache, left-padded batches and SDPA, in the fastest precision of this machine.",
        "Times include encoding the image and the text. Each figure is the fastest of",
        f"{RUNS} runs, which alternate between the two.",
        choice,
        "",
        f"Machine: {machine}, {torch.get_num_threads()} threads; torch {torch.__version__},"
        f" transformers {transformers.__version__}, Python {platform.python_version()}.",
        "",
        "| task | this package | transformers | ratio |",
        "|---|---|---|---|",
        *(f"| {name} | {mine:.2f} s | {peers:.2f} s | {peers / mine:.1f} x |" for name, mine, peers in rows),
        "",
        "Phrases: `transformers` generates one box greedily, without a score. This package searches for the",
        "box and scores it. With one first corner, it takes the best box of the most likely corner. By",
        "default, the search tries up to 16 first corners until they carry 95 % of the probability. With",
        "random weights no corner stands out, so it always tries all 16.",
    ]
    (ROOT / "docs/benchmarks.md").write_text("\n".join(lines) + "\n")
    print(f"\n{machine}\nwritten to docs/benchmarks.md")


def processor_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
