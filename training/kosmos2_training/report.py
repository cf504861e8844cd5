"""The report of a training: its curve, pictures of what the model locates, and a model card."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kosmos2_core.drawing import arrange_tiles, draw
from kosmos2_core.engine import Engine
from kosmos2_core.files import write_atomically
from kosmos2_core.grounded_text import write_markdown
from kosmos2_core.images import Pixels, save_image
from kosmos2_core.requests import Locate
from kosmos2_data.records import Record
from kosmos2_training.run_folder import CURVE, LOG, SCORES, SHEET, Scores, read_lines
from kosmos2_training.trainer import Trainer

PICTURES, COLUMNS = 12, 4
FIGURES = {
    "accuracy": "located correctly (IoU >= 0.5)",
    "mean_iou": "mean IoU",
    "presence_auroc": "present against absent phrases (AUROC)",
    "calibration_error": "calibration error of the scores",
}


def write_report(run: Path, engine: Engine, samples: Iterable[tuple[Pixels, Record]]) -> None:
    """Write the curve, and pictures of the first samples, into the folder of a run."""
    plot_curve(run)
    pictures = [picture(engine, *sample) for sample, _ in zip(samples, range(PICTURES), strict=False)]
    if pictures:
        save_image(arrange_tiles(pictures, COLUMNS, background=0), run / SHEET)


def plot_curve(run: Path) -> Path:
    """Plot the losses, and above them the accuracy on held-out data; return the file."""
    from matplotlib.figure import Figure

    steps, scores = read_lines(run / LOG), read_lines(run / SCORES)
    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for name, label in (("accuracy", "accuracy at IoU 0.5"), ("mean_iou", "mean IoU")):
        above.plot(*_series(scores, name), marker=".", label=label)
    above.set(ylim=(0, 1), ylabel="held-out data")
    for name in ("answers", "auxiliary"):
        numbers, values = _series(steps, name)
        if any(values):
            below.plot(numbers, _smooth(values), label=f"loss of {name}")
    below.set(xlabel="step", ylabel="training")
    for axes in (above, below):
        axes.grid(alpha=0.3)
        axes.legend()
    file = run / CURVE
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_atomically(file, content.getvalue())
    return file


def _series(lines: Sequence[dict[str, str]], name: str) -> tuple[list[int], list[float]]:
    """Return the steps and the values of a column."""
    return [int(line["step"]) for line in lines], [float(line.get(name) or "nan") for line in lines]


def _smooth(values: Sequence[float]) -> NDArray[np.float64]:
    """Return the moving average over a hundredth of all values."""
    window = max(len(values) // 100, 1)
    padded = np.pad(np.asarray(values), (window - 1, 0), mode="edge")
    return np.convolve(padded, np.full(window, 1 / window), mode="valid")


def picture(engine: Engine, image: Pixels, record: Record) -> Pixels:
    """Draw the best boxes of the first phrases that a record asks for."""
    large = np.asarray(Image.fromarray(image).resize((448, 448), Image.Resampling.BICUBIC))
    items = [item for item in record.items if item.task == "locate"][:4]
    view = engine.look(image)
    answers = view.run(*(Locate(write_markdown(item.text), min_presence=0.0) for item in items))
    return draw(large, [phrase for answer in answers for phrase in answer.phrases], missing=True)


def model_card(trainer: Trainer, scores: Scores) -> str:
    """Return the README.md of a checkpoint: its shape, its training and its scores."""
    settings, model = trainer.settings, trainer.model
    vision, text = model.config.vision_config, model.config.text_config
    parameters = sum(p.numel() for p in model.parameters())
    data = "\n".join(f"- `{source.path}`, weight {source.weight:g}" for source in settings.data)
    images = trainer.step * settings.batch
    known = {label: scores[name] for name, label in FIGURES.items() if scores.get(name) is not None}
    figures = [f"| {label} | {value:.3f} |" for label, value in known.items()]
    table = ["| on held-out data | |", "|---|---|", *figures] if figures else ["Not evaluated."]
    metadata = {"library_name": "transformers", "pipeline_tag": "image-text-to-text", "tags": ["kosmos-2"]}
    lines = [
        "---",
        *(f"{name}: {json.dumps(value)}" for name, value in metadata.items()),
        "---",
        f"# {Path(settings.run).name}",
        "",
        f"A Kosmos-2 of {parameters / 1e6:.1f} M parameters: {vision.num_hidden_layers} vision layers of"
        f" {vision.hidden_size}, {text.layers} decoder layers of {text.embed_dim}, images of"
        f" {vision.image_size} x {vision.image_size} pixels.",
        "",
        f"Trained by `kosmos2 train` from `{settings.start}` for {trainer.step} steps of {settings.batch}"
        f" images ({images:,} in all) with {settings.optimiser.name}, seed {settings.seed}. Data:",
        "",
        data,
        "",
        *table,
        "",
        "`transformers`' Kosmos2ForConditionalGeneration loads it, as does `kosmos2 locate --model`.",
        "",
    ]
    return "\n".join(lines)
