"""The page and the chart of `core.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from floor import Limits, limits_text
from tasks import (
    CAMERAS_TASK,
    CAPTION,
    CAPTION_TOKENS,
    FIRST_TOKEN,
    FRAMES,
    MAX_CORNERS,
    MEAN_CORNERS,
    PHRASES,
    STREAM,
    TASKS,
    phrase_tasks,
)

LABELS = {
    "ours-float32": "this package, float32",
    "ours-bfloat16": "this package, bfloat16",
    "ours-int8": "this package, int8",
    "peer-float32": "transformers, float32",
    "peer-bfloat16": "transformers, bfloat16",
    "peer-int8": "transformers, `quantize_dynamic`",
    "openvino-int8": "OpenVINO, int8",
    "openvino-int4": "OpenVINO, int4",
}
COLOURS = {"ours": "#0d9488", "peer": "#94a3b8", "openvino": "#7c3aed"}
TEXT = "#77818c"  # readable on a light and on a dark page
NEXT_TOKEN = "each further token"
CHART_TITLES = {
    phrase_tasks(1)[1].title: "1 phrase",
    phrase_tasks(len(PHRASES))[1].title: f"{len(PHRASES)} phrases",
    CAMERAS_TASK.title: "4 cameras",
    STREAM.title: "stream, each frame",
    NEXT_TOKEN: "each further token",
}

Row = dict[str, float]  # seconds by contender

PAGE = """\
# Benchmarks

This page compares the speed and the memory of this package with other ways to run the same model on the
same machine. One command measures everything in one run and writes the page:

```sh
make bench
```

{machine}

![Seconds of all contenders for five tasks](benchmarks.svg)

Shorter is better. The dashed line is the floor of this machine for the precision of the fastest row of this
package; it is explained below.

## Times

{times}

`ratio` is the time of the fastest competitor divided by the shortest time of this package; above 1,
this package is faster. `of the floor` is the floor divided by that time: at 100 %, no program could be
faster with weights of that precision.

## Start and memory

{processes}

The time to the first answer counts from the start of the process, with the checkpoint in the page
cache. Memory is the resident memory of the process. The last row compares the logits after a phrase
with those of `transformers` in float32: all contenders compute the same model, as far as their
precision allows.

{notes}## How it is measured

All contenders load the same checkpoint: the full-size model (1.66 billion parameters) with random
weights. They do not fit in memory together. So in each round, every contender gets a process of its
own, one after the other: it starts, answers, does all tasks and ends. There are {rounds} rounds with
{runs} runs of each task; the fastest run counts, because other programs on the machine only slow down.
Times include the preparation of images and texts. The conversion to OpenVINO is not counted; the
quantisation by `quantize_dynamic` is part of loading the model.

- **This package** runs in its faster float precision, and with int8 weights from a checkpoint that
  `kosmos2 quantize` wrote; rows are quantised when they are computed.
- **transformers** runs with its key-value cache, SDPA and left-padded batches, in its fastest
  precision. Each image is encoded once, however many phrases are about it.
- **`quantize_dynamic`** is `torch.ao.quantization.quantize_dynamic(model, {{torch.nn.Linear}})`, engine
  x86, on the float32 model: one line that turns all linear layers into int8.
- **OpenVINO** runs the model in the parts of OpenVINO's public notebook for Kosmos-2: image encoder,
  image-to-text projection, token embedding and text decoder. They are converted from `transformers`,
  and `nncf.compress_weights` compresses their weights to int8, or those of the decoder to int4 in
  groups of 64. Unlike in the notebook, the decoder keeps its keys and values inside OpenVINO, which is
  faster, and takes several phrases in one batch. All settings of the runtime are its defaults, except
  the number of threads.
- **The floor** is the least time that a task can take on this machine. Each pass through the model
  takes at least as long as reading its weights once at the measured bandwidth, and at least as long as
  its multiplications and additions at the measured peak of the fastest kernel; the longer of both
  counts. `python test/bench/linear.py` prints the times of all kernels.

Phrases: competitors generate one box greedily, without a score, up to its second corner. This package
searches for the box and scores it. With one first corner, it takes the best box of the most likely
corner. By default it tries up to {max_corners} first corners until they and those near them carry 95 %
of the probability; the small model needs 2 on average (`python test/bench/corners.py`), and the
rows with cameras and streams have {mean_corners}. A stream is {frames} new images, one after the other; the
row has the median. A caption is generated greedily, without scores.

What was tried to make it faster, and did not help, is in the [experiments log](experiments.md).
"""


def write_page(results: dict[str, Any], folder: Path) -> None:
    """Write benchmarks.md and benchmarks.svg to a folder."""
    rows, floors = task_rows(results), floor_rows(results)
    (folder / "benchmarks.svg").write_text(chart(rows, floors))
    (folder / "benchmarks.md").write_text(page(results, rows, floors))
    print("\n".join(table(results, rows, floors)))
    print(f"written to {folder / 'benchmarks.md'}")


# Figures.


def task_rows(results: dict[str, Any]) -> dict[str, Row]:
    """Return the fastest time of each contender in each task, and its time for a further token."""
    contenders = results["contenders"]
    rows = {
        task.title: {name: min(found["tasks"][task.title]) for name, found in contenders.items()}
        for task in TASKS
    }
    rows[NEXT_TOKEN] = {
        name: (rows[CAPTION.title][name] - rows[FIRST_TOKEN.title][name]) / (CAPTION_TOKENS - 1)
        for name in contenders
    }
    return rows


def floor_rows(results: dict[str, Any]) -> dict[str, Row]:
    """Return the floor of each task by precision."""
    floors: dict[str, Row] = dict(results["floors"])
    floors[NEXT_TOKEN] = {
        precision: (value - floors[FIRST_TOKEN.title][precision]) / (CAPTION_TOKENS - 1)
        for precision, value in floors[CAPTION.title].items()
    }
    return floors


def best_of_ours(row: Row) -> str:
    return min((name for name in row if name.startswith("ours")), key=row.__getitem__)


def strongest(row: Row) -> str | None:
    """Return the fastest competitor."""
    others = [name for name in row if not name.startswith("ours")]
    return min(others, key=row.__getitem__) if others else None


def precision_of(name: str) -> str:
    return name.partition("-")[2]


# The page.


def page(results: dict[str, Any], rows: dict[str, Row], floors: dict[str, Row]) -> str:
    """Return the page's text."""
    return PAGE.format(
        machine="\n".join(machine_lines(results)),
        times="\n".join(table(results, rows, floors)),
        processes="\n".join(process_table(results)),
        notes="".join(f"{note}\n\n" for note in results["notes"]),
        rounds=results["rounds"],
        runs=results["runs"],
        max_corners=MAX_CORNERS,
        mean_corners=MEAN_CORNERS,
        frames=FRAMES,
    )


def machine_lines(results: dict[str, Any]) -> Iterator[str]:
    machine = results["machine"]
    instructions = f" ({', '.join(machine['instructions'])})" if machine["instructions"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    yield f"Machine: {machine['name']}{instructions}, {machine['threads']} threads,"
    yield f"{machine['memory_gib']:.0f} GiB of memory. Versions: {versions}."
    yield limits_text(Limits(**results["limits"]))
    if machine["load"] > 0.5:
        yield f"Before the run, the load average was {machine['load']:.1f}: other programs were running."
    for family, title in (("ours", "This package"), ("peer", "`transformers`")):
        times = results.get("precisions", {}).get(family, {})
        if times:
            measured = " and ".join(f"{value:.2f} s in {dtype}" for dtype, value in times.items())
            yield f"{title} takes {measured} for one phrase: the faster precision is in the tables."


def table(results: dict[str, Any], rows: dict[str, Row], floors: dict[str, Row]) -> Iterator[str]:
    """Yield the table of times."""
    names = list(results["contenders"])
    yield f"| task | {' | '.join(LABELS[name] for name in names)} | ratio | of the floor |"
    yield "|---|" + "---|" * (len(names) + 2)
    for title, row in rows.items():
        ours, competitor = best_of_ours(row), strongest(row)
        cells = [seconds(row[name]) for name in names]
        cells[names.index(ours)] = f"**{cells[names.index(ours)]}**"
        ratio = f"{row[competitor] / row[ours]:.2f} x" if competitor else "-"
        floor = floors[title].get(precision_of(ours))
        share = f"{floor / row[ours]:.0%}".replace("%", " %") if floor else "-"
        yield f"| {title} | {' | '.join(cells)} | {ratio} | {share} |"


def process_table(results: dict[str, Any]) -> Iterator[str]:
    """Yield the table of starts, memory and logits."""
    contenders = results["contenders"]
    yield f"| | {' | '.join(LABELS[name] for name in contenders)} |"
    yield "|---|" + "---|" * len(contenders)
    for key, title in (
        ("load_s", "load the model"),
        ("first_call_s", "first phrase after that"),
        ("first_answer_s", "from the start of the process to the first answer"),
    ):
        yield f"| {title} | {' | '.join(seconds(min(found[key])) for found in contenders.values())} |"
    for key, title in (
        ("peak_mib", "peak memory"),
        ("resident_mib", "memory after all tasks"),
        ("gpu_mib", "peak memory of the GPU"),
    ):
        if not all(key in found for found in contenders.values()):
            continue
        cells = (f"{max(found[key]) / 1024:.1f} GiB" for found in contenders.values())
        yield f"| {title} | {' | '.join(cells)} |"
    cells = (f"{found['correlation']:.4f}" for found in contenders.values())
    yield f"| correlation of the logits | {' | '.join(cells)} |"


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"


# The chart.


def chart(rows: dict[str, Row], floors: dict[str, Row]) -> str:
    """Return bars of all contenders as SVG, a panel for each of the main tasks."""
    import io

    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 0.9 + 0.34 * len(rows[CAPTION.title])), layout="constrained")
    panels = figure.subplots(1, len(CHART_TITLES), sharey=True)
    for axes, (row, title) in zip(panels, CHART_TITLES.items(), strict=True):
        draw_panel(axes, title, rows[row], floors[row])
    figure.patch.set_visible(False)
    text = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "benchmarks", "font.family": "sans-serif"}):
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def draw_panel(axes: Any, title: str, row: Row, floors: Row) -> None:
    names = list(reversed(row))
    colours = [COLOURS[name.partition("-")[0]] for name in names]
    labels = [LABELS[name].replace("`", "") for name in names]
    bars = axes.barh(labels, [row[name] for name in names], color=colours)
    axes.bar_label(bars, [seconds(row[name]) for name in names], padding=3, color=TEXT, fontsize=8)
    floor = floors.get(precision_of(best_of_ours(row)))
    if floor:
        axes.axvline(floor, linestyle="--", linewidth=1, color=TEXT)
    axes.set_title(title, fontsize=10, color=TEXT)
    axes.set_xlim(0, max(row.values()) * 1.35)
    axes.tick_params(colors=TEXT, length=0, labelsize=9)
    axes.set_xticks([])
    axes.patch.set_visible(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
