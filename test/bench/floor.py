"""The least time that the tasks of `core.py` need on this machine.

    python test/bench/floor.py

A pass through a part of the model reads its weights once, and multiplies them with each row. It cannot take
less time than reading takes at the measured bandwidth, nor less than the operations take at the measured peak
of the fastest kernel. Attention, activations, images and texts are not counted. The passes are those of this
package: a phrase's shared prompt is computed once, then one step for all first corners.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import linear
import torch
from tasks import PHRASES, Task

from kosmos2_core.config import Config
from kosmos2_core.prompts import Prompt, locate_prompt_ids, prompt_ids
from kosmos2_core.requests import Caption, Locate
from kosmos2_core.tokenizer import Tokenizer

GIB = 1 << 30
READ_BYTES = 2 * GIB  # more than any cache holds
BYTES = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.0, "int4": 0.5}
RUNS = 5


@dataclass(frozen=True)
class Limits:
    """The speeds that no program on this machine can exceed.

    Args:
        bytes_per_s: Bandwidth of reading memory.
        operations_per_s: Peak of the fastest kernel of each precision of the weights.
        kernels: That kernel's name.
    """

    bytes_per_s: float
    operations_per_s: dict[str, float]
    kernels: dict[str, str]


def measure_limits(device: str) -> Limits:
    """Measure the bandwidth, and the peak of every kernel."""
    peaks: dict[str, float] = {}
    names: dict[str, str] = {}
    with torch.inference_mode():
        for kernel in linear.KERNELS if device == "cpu" else ():
            try:
                rate = linear.peak_rate(kernel)
            except RuntimeError:  # not in this build of torch, or not for this processor
                continue
            if rate > peaks.get(kernel.precision, 0):
                peaks[kernel.precision], names[kernel.precision] = rate, kernel.name
        if device != "cpu":
            peaks["bfloat16"], names["bfloat16"] = gpu_peak(), "bfloat16, `F.linear`"
        return Limits(bandwidth(device), peaks, names)


def bandwidth(device: str) -> float:
    """Return the bytes that all threads read in a second, in a product with a vector or a sum."""
    matrix = torch.ones(READ_BYTES // 4 // 8192, 8192, device=device)
    vector = torch.ones(8192, device=device)
    readers = (lambda: matrix.mv(vector), lambda: matrix.sum(), lambda: matrix.amax())
    return READ_BYTES / min(fastest(reader) for reader in readers)


def gpu_peak() -> float:
    side = 8192
    factors = [torch.randn(side, side, dtype=torch.bfloat16, device="cuda") for _ in range(2)]
    return 2 * side**3 / fastest(lambda: factors[0] @ factors[1])


def fastest(work: Callable[[], object]) -> float:
    """Return the seconds of the fastest run."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


@dataclass(frozen=True)
class Pass:
    """Weights that are read once, and the products of a weight with a row."""

    weights: int
    products: int


def floor_s(task: Task, config: Config, tokenizer: Tokenizer, limits: Limits, precision: str) -> float:
    """Return the least time of a task, in seconds, with weights of a precision.

    The operations may be done by the fastest kernel of this precision or of a wider one.
    """
    wider = [name for name, size in BYTES.items() if size >= BYTES[precision]]
    peak = max(limits.operations_per_s.get(name, 0) for name in wider)
    return sum(
        max(part.weights * BYTES[precision] / limits.bytes_per_s, 2 * part.products / peak)
        for part in passes(task, config, tokenizer)
    )


def passes(task: Task, config: Config, tokenizer: Tokenizer) -> Iterator[Pass]:
    """Yield the passes of a task."""
    yield image_pass(config, task.images)
    if task.tokens:
        rows = prompt_length(config, prompt_ids(tokenizer, Caption()))
        yield decoder_pass(config, rows, 1, 1)
        for _ in range(task.tokens - 1):
            yield decoder_pass(config, 1, 1, 1)
        return
    prompts = [locate_prompt_ids(tokenizer, Locate(f"[{phrase}]"))[0] for phrase in PHRASES[: task.phrases]]
    rows, wanted = task.images * packed_length(config, prompts), task.images * 2 * len(prompts)
    yield decoder_pass(config, rows, wanted, task.images * len(prompts))
    corners = task.images * len(prompts) * task.corners
    yield decoder_pass(config, corners, corners, 0)  # location tokens alone are a small part


def prompt_length(config: Config, ids: list[int]) -> int:
    """Return the number of tokens of a prompt about one image."""
    return 1 + config.latent_query_num + 2 + len(Prompt((), ids).ids)


def packed_length(config: Config, prompts: list[list[int]]) -> int:
    """Return the number of tokens of prompts that share what they begin with."""
    shared = next(
        (index for index, ids in enumerate(zip(*prompts, strict=False)) if len(set(ids)) > 1),
        min(map(len, prompts)) if len(prompts) > 1 else 0,
    )
    return prompt_length(config, []) + shared + sum(len(ids) - shared for ids in prompts)


def decoder_pass(config: Config, rows: int, wanted: int, outputs: int) -> Pass:
    """Return a pass of the decoder.

    Args:
        config: The model's shape.
        rows: Number of tokens.
        wanted: How many of them are asked for: the last block needs only keys and values of the others.
        outputs: How many of these need the logits of the whole vocabulary.
    """
    text = config.text_config
    keys_values = 2 * text.embed_dim**2
    block = 2 * keys_values + 2 * text.embed_dim * text.ffn_dim
    vocabulary = text.vocab_size * text.embed_dim
    products = rows * (block * (text.layers - 1) + keys_values) + wanted * (block - keys_values)
    return Pass(block * text.layers + vocabulary * (outputs > 0), products + outputs * vocabulary)


def image_pass(config: Config, images: int) -> Pass:
    """Return the pass of images through the vision tower and the connector."""
    vision, width = config.vision_config, config.text_config.embed_dim
    rows, queries = vision.num_patches + 1, config.latent_query_num
    block = 4 * vision.hidden_size**2 + 2 * vision.hidden_size * vision.intermediate_size
    patches = vision.num_channels * vision.patch_size**2 * vision.hidden_size
    dense = vision.hidden_size * width
    weights = vision.num_hidden_layers * block + patches + dense + 4 * width**2
    products = rows * (vision.num_hidden_layers * block + dense) + vision.num_patches * patches
    products += (rows + queries) * 2 * width**2 + queries * 2 * width**2
    return Pass(weights, images * products)


def limits_text(limits: Limits) -> str:
    """Return a sentence about the limits."""
    peaks = [
        f"{limits.operations_per_s[name] / 1e9:.0f} in {name} ({limits.kernels[name].partition(', ')[2]})"
        for name in sorted(limits.operations_per_s, key=BYTES.__getitem__, reverse=True)
    ]
    return (
        f"It reads {limits.bytes_per_s / 1e9:.1f} GB/s, and its fastest kernels reach, in billions of"
        f" operations per second, {', '.join(peaks)}."
    )


def main() -> None:
    from tasks import TASKS

    folder = Path(__file__).resolve().parents[2] / "models/tabletop-tiny"
    config, tokenizer, limits = Config(), Tokenizer.load(folder), measure_limits("cpu")
    print(limits_text(limits))
    for task in TASKS:
        times = (f"{floor_s(task, config, tokenizer, limits, name):.2f} s in {name}" for name in BYTES)
        print(f"{task.title}: {', '.join(times)}")


if __name__ == "__main__":
    main()
