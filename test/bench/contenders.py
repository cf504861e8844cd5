"""The contenders of `core.py`, and the process that measures one of them.

    python test/bench/contenders.py NAME FOLDER RESULT --started SECONDS

A contender has a process to itself, so that its memory and its start are its own. The process loads the
checkpoint in FOLDER, does all tasks, and writes the times as JSON to the file RESULT.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tasks import BOX_TOKENS, PHRASES, TASKS, Task, make_image

Image = NDArray[np.uint8]
TEXT_INPUTS = ("input_ids", "attention_mask", "image_embeds_position_mask")
QUANTIZED = "int8"  # folder of the quantised checkpoint, in that of the checkpoint
BLANK = np.zeros((8, 8, 3), np.uint8)  # the processor wants an image with each text


class Contender(ABC):
    """A way to answer the tasks; it is made from the checkpoint's folder and the device of the model."""

    searches = False  # scores boxes by a search; else it generates the likeliest box

    @abstractmethod
    def locate(self, images: Sequence[Image], phrases: Sequence[str], corners: int) -> object:
        """Find all phrases in all images, in one batch."""

    @abstractmethod
    def caption(self, image: Image, tokens: int) -> object:
        """Generate so many tokens about an image."""

    @abstractmethod
    def logits(self, image: Image, phrase: str) -> NDArray[np.float32]:
        """Return the logits (V,) after a phrase, to compare them with those of other contenders."""


class Ours(Contender):
    """This package with float weights."""

    searches = True
    dtype = "bfloat16"

    def __init__(self, folder: Path, device: str) -> None:
        self.engine = self.load(folder, device)

    def load(self, folder: Path, device: str) -> Any:
        from kosmos2_core.engine import Engine

        return Engine.load(folder, device, self.dtype, quantize="none")

    def locate(self, images: Sequence[Image], phrases: Sequence[str], corners: int) -> object:
        from kosmos2_core.requests import Locate

        # The weights are random, so that the presence of a phrase says nothing.
        requests = [Locate(f"[{phrase}]", max_corners=corners, min_presence=0.0) for phrase in phrases]
        views = self.engine.look_many([[image] for image in images])
        answers = self.engine.run([(view, request) for view in views for request in requests])
        assert all(entity.boxes for answer in answers for entity in answer.phrases), "a phrase without a box"
        return answers

    def caption(self, image: Image, tokens: int) -> object:
        from kosmos2_core.decoding import Decoding
        from kosmos2_core.requests import Caption

        decoding = Decoding(max_new_tokens=tokens, released=True, scores=False)
        ids = self.engine.generate_ids(self.engine.look(image), Caption(), decoding)
        assert len(ids) == tokens, f"the caption ended after {len(ids)} tokens"
        return ids

    def logits(self, image: Image, phrase: str) -> NDArray[np.float32]:
        import torch

        from kosmos2_core.packing import image_slots
        from kosmos2_core.prompts import Prompt, locate_prompt_ids
        from kosmos2_core.requests import Locate

        engine = self.engine
        [ids] = locate_prompt_ids(engine.tokenizer, Locate(f"[{phrase}]"))
        features = engine.look(image).features
        before_object = Prompt(features, ids[:-1])
        whole = torch.tensor([engine.prefiller.expand_prompt(before_object)], device=engine.device)
        with torch.inference_mode():
            slots = image_slots(whole, engine.control)
            logits = engine.model(whole, torch.stack(list(features)), slots)[0, -1]
        found: NDArray[np.float32] = logits.float().cpu().numpy()
        return found


class OursFloat32(Ours):
    """This package in float32."""

    dtype = "float32"


class Generating(Contender):
    """A contender that generates tokens after texts as the processor of `transformers` prepares them."""

    processor: Any

    def __init__(self, folder: Path, device: str) -> None:
        self.processor = load_processor(folder)
        self.start(folder, device)

    @abstractmethod
    def start(self, folder: Path, device: str) -> None:
        """Load the model."""

    @abstractmethod
    def generate(self, inputs: Any, rows: list[int], tokens: int) -> object:
        """Generate tokens.

        Args:
            inputs: The processor's output, with `pixel_values` of each image.
            rows: The number of the image that belongs to each text.
            tokens: How many tokens.
        """

    def locate(self, images: Sequence[Image], phrases: Sequence[str], corners: int) -> object:
        inputs, rows = self.prepare(images, [phrase_prompt(phrase) for phrase in phrases])
        return self.generate(inputs, rows, BOX_TOKENS)

    def caption(self, image: Image, tokens: int) -> object:
        inputs, rows = self.prepare([image], ["<grounding> An image of"])
        return self.generate(inputs, rows, tokens)

    def prepare(self, images: Sequence[Image], texts: Sequence[str]) -> tuple[Any, list[int]]:
        """Return the inputs of all texts about all images, each image prepared once."""
        from PIL import Image as Pictures

        rows = [row for row in range(len(images)) for _ in texts]
        inputs = self.processor(
            images=[BLANK] * len(rows), text=list(texts) * len(images), padding=True, return_tensors="pt"
        )
        pictures = [Pictures.fromarray(image) for image in images]
        inputs["pixel_values"] = self.processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
        return inputs, rows


def load_processor(folder: Path) -> Any:
    from transformers import Kosmos2Processor

    processor = Kosmos2Processor.from_pretrained(folder)
    processor.tokenizer.padding_side = "left"
    return processor


def phrase_prompt(phrase: str) -> str:
    """Return the prompt of a phrase, in the notation of `transformers`."""
    return f"<grounding><phrase> {phrase}</phrase>"


class Peer(Generating):
    """The model of `transformers`, with its key-value cache, SDPA and left-padded batches."""

    dtype = "bfloat16"

    def start(self, folder: Path, device: str) -> None:
        import torch
        from transformers import Kosmos2ForConditionalGeneration

        dtype = getattr(torch, self.dtype)
        self.model = Kosmos2ForConditionalGeneration.from_pretrained(folder, dtype=dtype).eval().to(device)

    def generate(self, inputs: Any, rows: list[int], tokens: int) -> object:
        import torch

        with torch.inference_mode():
            return self.model.generate(
                pixel_values=None,
                image_embeds=self.encode(inputs)[rows],
                **{name: inputs[name].to(self.model.device) for name in TEXT_INPUTS},
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                do_sample=False,
                use_cache=True,
            )

    def encode(self, inputs: Any) -> Any:
        """Return the tokens of the images: each image is encoded once, however many texts are about it."""
        pixels = inputs["pixel_values"].to(self.model.device, self.model.dtype)
        states = self.model.vision_model(pixels).last_hidden_state
        features = self.model.vision_model.model.post_layernorm(states)
        return self.model.image_to_text_projection(features / features.norm(dim=-1, keepdim=True))[0]

    def logits(self, image: Image, phrase: str) -> NDArray[np.float32]:
        import torch

        inputs, _ = self.prepare([image], [phrase_prompt(phrase)])
        with torch.inference_mode():
            texts = {name: inputs[name].to(self.model.device) for name in TEXT_INPUTS}
            out = self.model(image_embeds=self.encode(inputs), **texts)
        found: NDArray[np.float32] = out.logits[0, -1].float().cpu().numpy()
        return found


class PeerFloat32(Peer):
    """The model of `transformers` in float32."""

    dtype = "float32"


class PeerInt8(PeerFloat32):
    """The model of `transformers` with dynamically quantised linear layers, which takes one line."""

    def start(self, folder: Path, device: str) -> None:
        import torch

        super().start(folder, device)
        torch.backends.quantized.engine = "x86"
        self.model = torch.ao.quantization.quantize_dynamic(self.model, {torch.nn.Linear}, inplace=True)


class OursInt8(Ours):
    """This package with int8 weights, from a checkpoint that holds them."""

    def load(self, folder: Path, device: str) -> Any:
        return quantized_engine(folder, device)


def quantized_engine(folder: Path, device: str) -> Any:
    """Load the engine of this package with int8 weights."""
    from kosmos2_core.engine import Engine

    return Engine.load(folder / QUANTIZED, device, quantize="int8")


def openvino_contender(weights: str) -> Callable[[Path, str], Contender]:
    """Return the contender with the parts that `openvino_parts.py` converted."""

    def load(folder: Path, device: str) -> Contender:
        from openvino_contender import OpenVino

        return OpenVino(folder, device, weights)

    return load


CONTENDERS: dict[str, Callable[[Path, str], Contender]] = {
    "ours-float32": OursFloat32,
    "ours-bfloat16": Ours,
    "ours-int8": OursInt8,
    "peer-float32": PeerFloat32,
    "peer-bfloat16": Peer,
    "peer-int8": PeerInt8,
    "openvino-int8": openvino_contender("int8"),
    "openvino-int4": openvino_contender("int4"),
}


# The process that measures.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", choices=CONTENDERS, help="the contender")
    parser.add_argument("folder", type=Path, help="the checkpoint's folder")
    parser.add_argument("result", type=Path, help="file for the result")
    parser.add_argument("--started", type=float, required=True, help="time.monotonic() before the start")
    parser.add_argument("--runs", type=int, default=2, help="how often each task is done")
    parser.add_argument("--first-only", action="store_true", help="only find one phrase")
    parser.add_argument("--device", default="cpu", help="where the model runs")
    arguments = parser.parse_args()
    before = time.perf_counter()
    contender = CONTENDERS[arguments.name](arguments.folder, arguments.device)
    loaded = time.perf_counter()
    run(contender, TASKS[0], frame=0)
    first_call = time.perf_counter() - loaded
    result: dict[str, Any] = {
        "load_s": loaded - before,
        "first_call_s": first_call,
        "first_answer_s": time.monotonic() - arguments.started,
    }
    tasks = TASKS[:1] if arguments.first_only else TASKS
    result["tasks"] = measure(contender, tasks, arguments.runs)
    result |= {"peak_mib": memory_mib("VmHWM"), "resident_mib": memory_mib("VmRSS")}
    if (torch := sys.modules.get("torch")) and torch.cuda.is_initialized():
        result["gpu_mib"] = torch.cuda.max_memory_allocated() / 2**20
    result["logits"] = contender.logits(make_image(0), PHRASES[0]).tolist()
    arguments.result.write_text(json.dumps(result))


def measure(contender: Contender, tasks: Sequence[Task], runs: int) -> dict[str, list[float]]:
    """Return the seconds of all runs of all tasks. Equal work is done once."""
    times: dict[str, list[float]] = {}
    for task in tasks:
        key = task.title if contender.searches else task.work
        if key not in times:
            times[key] = [run(contender, task, frame) for frame in range(runs)]
    return {task.title: times[task.title if contender.searches else task.work] for task in tasks}


def run(contender: Contender, task: Task, frame: int) -> float:
    """Do a task and return its time in seconds; that of a stream is the median over its frames."""
    times = []
    for number in range(task.frames):
        images = [
            make_image(task.images * (task.frames * frame + number) + view) for view in range(task.images)
        ]
        start = time.perf_counter()
        if task.tokens:
            contender.caption(images[0], task.tokens)
        else:
            contender.locate(images, PHRASES[: task.phrases], task.corners)
        wait_for_device()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def wait_for_device() -> None:
    """Wait until a GPU, if one is used, has done its work."""
    if (torch := sys.modules.get("torch")) and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def memory_mib(field: str) -> float:
    """Return the memory of this process: `VmHWM`, its peak, or `VmRSS`, now."""
    [kibibytes] = re.findall(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(kibibytes) / 1024


if __name__ == "__main__":
    main()
