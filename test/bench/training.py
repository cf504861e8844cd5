"""Training speed beside `transformers`, in one run: same shape, weights, records, precision and optimiser.

This project learns all items of an image as branches of one sequence, and encodes the image once. With
`transformers` there are two ways. All items can follow each other in one causal sequence, where an item sees
those before it; this is fast, but it does not train what is asked later. Or each item gets its own sequence
with the image, as the processor makes them. Prints a table and writes docs/training-benchmark.md.
"""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from torch import Tensor
from transformers import Kosmos2Config, Kosmos2ForConditionalGeneration

from kosmos2_core.checkpoint import save_model
from kosmos2_core.config import config_to_json
from kosmos2_core.packing import SHARED
from kosmos2_sim.dataset import make_dataset
from kosmos2_training.batches import TrainingBatch
from kosmos2_training.config import DataSource, OptimiserSettings, TrainingSettings, read_training
from kosmos2_training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]
IMAGES, RUNS, UNLEARNT = 24, 8, -100
OURS = "kosmos2"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        make_dataset(base / "data", IMAGES * 2, "train", 0, 24)
        trainer = make_trainer(base)
        peer = make_peer(trainer, base)
        step = trainer.data[0]
        [batch] = step.parts
        sequences, alone = in_one_sequence(batch), one_by_one(batch)
        moves = torch.optim.AdamW(
            peer.parameters(), lr=2e-4, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )
        rows = {
            OURS: lambda: trainer.train_step(step),
            "transformers, all items in one causal sequence": lambda: peer_step(peer, moves, sequences),
            "transformers, one sequence per item": lambda: peer_step(peer, moves, alone),
        }
        report(measure(rows), len(batch.targets), trainer)


def make_trainer(base: Path) -> Trainer:
    """The small model's training as it is committed, without what the peer has not."""
    settings = read_training(ROOT / "training" / "configs" / "tabletop-tiny.yaml")
    plain = {"auxiliary": 0.0, "soft_targets": 0.0, "augment": False, "precision": "float32"}
    training = TrainingSettings(
        run="run",
        data=(DataSource(path="data"),),
        steps=2,
        batch=IMAGES,
        tokens=settings.tokens,
        model=settings.model,
        dropout=0.0,
        optimiser=OptimiserSettings(warmup=0),
        **plain,
    )
    return Trainer(training, base)


def make_peer(trainer: Trainer, base: Path) -> Kosmos2ForConditionalGeneration:
    """The peer with the same weights."""
    save_model(trainer.model, base / "start")
    (base / "start" / "config.json").write_text(config_to_json(trainer.model.config))
    settings = Kosmos2Config.from_pretrained(base / "start")
    for name in ("dropout", "attention_dropout", "activation_dropout"):
        setattr(settings.text_config, name, 0.0)
    peer = Kosmos2ForConditionalGeneration.from_pretrained(base / "start", config=settings)
    return peer.to(trainer.device).train()


Inputs = dict[str, Tensor]


def in_one_sequence(batch: TrainingBatch) -> list[Inputs]:
    """The same tokens, causal all through."""
    labels = torch.full_like(batch.ids, UNLEARNT)
    labels[batch.rows, batch.indices + 1] = batch.targets
    return [
        {
            "pixel_values": batch.pixels,
            "input_ids": batch.ids,
            "image_embeds_position_mask": batch.slots.long(),
            "attention_mask": (batch.owners >= SHARED).long(),
            "labels": labels,
        }
    ]


def one_by_one(batch: TrainingBatch) -> list[Inputs]:
    """Each branch with its image; as many at a time as there are images, for the memory."""
    lines: list[tuple[int, list[int], list[int]]] = []
    learnt = {(int(r), int(p) + 1) for r, p in zip(batch.rows, batch.indices, strict=True)}
    for row, owners in enumerate(batch.owners):
        prefix = (owners == SHARED).nonzero()[:, 0].tolist()
        for branch in range(int(owners.max()) + 1):
            branch_indices = (owners == branch).nonzero()[:, 0].tolist()
            ids = batch.ids[row, prefix + branch_indices].tolist()
            labels = [UNLEARNT] * len(prefix) + [
                int(batch.ids[row, index]) if (row, index) in learnt else UNLEARNT for index in branch_indices
            ]
            lines.append((row, ids, labels))
    return [_padded(batch, lines[first : first + IMAGES]) for first in range(0, len(lines), IMAGES)]


def _padded(batch: TrainingBatch, lines: list[tuple[int, list[int], list[int]]]) -> Inputs:
    longest = max(len(ids) for _, ids, _ in lines)
    ids = torch.ones(len(lines), longest, dtype=torch.long)
    labels, real = torch.full_like(ids, UNLEARNT), torch.zeros_like(ids)
    for row, (_, line, line_labels) in enumerate(lines):
        ids[row, : len(line)], labels[row, : len(line_labels)] = torch.tensor(line), torch.tensor(line_labels)
        real[row, : len(line)] = 1
    slots = torch.zeros_like(ids)
    slots[:, 2 : 2 + int(batch.slots[0].sum())] = 1
    return {
        "pixel_values": batch.pixels[[row for row, _, _ in lines]],
        "input_ids": ids,
        "image_embeds_position_mask": slots,
        "attention_mask": real,
        "labels": labels,
    }


def peer_step(
    peer: Kosmos2ForConditionalGeneration, moves: torch.optim.Optimizer, parts: list[Inputs]
) -> None:
    moves.zero_grad()
    for part in parts:
        inputs = {name: value.to(peer.device) for name, value in part.items()}
        (peer(**inputs).loss / len(parts)).backward()
    torch.nn.utils.clip_grad_norm_(peer.parameters(), 2.0)
    moves.step()


def measure(rows: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds a step, the fastest of some that take turns."""
    best = dict.fromkeys(rows, float("inf"))
    for _ in range(RUNS + 1):  # the first warms up
        for name, run in rows.items():
            begun = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            best[name] = min(best[name], time.perf_counter() - begun)
    return best


def report(best: dict[str, float], learnt: int, trainer: Trainer) -> None:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    ours = best[OURS]
    lines = [
        "# Training speed beside transformers",
        "",
        "This page compares the training speed with that of `transformers`' Kosmos2ForConditionalGeneration."
        " `python test/bench/training.py` measures it and writes this page.",
        "",
        "Both train the model of `training/configs/tabletop-tiny.yaml` in float32 with AdamW, without"
        f" augmentation and auxiliary losses. A step has {IMAGES} images with {learnt} tokens to learn."
        f" The figures are from the fastest of {RUNS} steps; the ways take turns.",
        "",
        f"Machine: {gpu or platform.processor() or platform.machine()}, {torch.get_num_threads()} threads;"
        f" torch {torch.__version__}, transformers {transformers.__version__}.",
        "",
        "| | images/s | kosmos2 is faster by |",
        "|---|---|---|",
        *(f"| {name} | {IMAGES / t:.1f} | {t / ours:.2f} x |" for name, t in best.items()),
        "",
        "With all items in one causal sequence, an item sees those before it, and positions continue.",
        "That does not train what is asked later, when an item is alone with its image. With one sequence",
        "per item, the same is learnt as here.",
        "",
    ]
    text = "\n".join(lines)
    print(text)
    (ROOT / "docs" / "training-benchmark.md").write_text(text)


if __name__ == "__main__":
    main()
