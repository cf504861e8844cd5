"""Examples:

  kosmos2 verify --model microsoft/kosmos-2-patch14-224 desk.png 'frames/*.jpg'

Runs the checkpoint here and with transformers, one after the other, in float32, on your images: prompts,
pixels, logits, generated ids and the boxes in them. Exit 0 if all agree. Takes memory for one of the two at
a time, 6.7 GB for the public checkpoint.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from kosmos2_cli.images import each_frame
from kosmos2_cli.options import add_model
from kosmos2_core.checkpoint import checkpoint_folder
from kosmos2_core.decoding import Decoding
from kosmos2_core.engine import Engine
from kosmos2_core.errors import InputError, ModelError
from kosmos2_core.grounded_text import parse_ids, trailing_phrase
from kosmos2_core.images import Pixels, preprocess
from kosmos2_core.prompts import IMAGE, prompt_ids
from kosmos2_core.requests import Caption, Complete
from kosmos2_core.tokenizer import Tokenizer

PROMPTS = {
    "caption": Caption(),
    "detailed caption": Caption(detailed=True),
    "caption without boxes": Caption(ground=False),
    "phrase": Complete("[the object]", ground=True),
}
TEXTS = {
    "caption": "<grounding> An image of",
    "detailed caption": "<grounding> Describe this image in detail:",
    "caption without boxes": "An image of",
    "phrase": "<grounding><phrase> the object</phrase>",
}
LOGITS, PIXELS = 1e-3, 1e-5  # the largest differences that count as the same


@dataclass(frozen=True)
class Case:
    """An image, a prompt, and what one of the two made of them."""

    image: str
    prompt: str
    prompt_ids: list[int]
    pixels: Tensor
    ids: list[int]
    logits: Tensor  # (tokens, V), from which each of the ids was chosen


@dataclass(frozen=True)
class Agreement:
    image: str
    prompt: str
    prompt_ids: bool
    pixels: float  # largest difference
    logits: float  # largest difference, where the ids are the same so far
    ids: int  # how many are the same from the start
    of: int
    boxes: bool
    good: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="a file, a folder, a pattern, a video")
    parser.add_argument("--tokens", type=int, default=32, metavar="N", help="to generate (default: 32)")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each image and prompt")
    add_model(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.dtype not in ("auto", "float32"):
        raise InputError(f"verify compares in float32; --dtype {arguments.dtype} would compare its rounding.")
    folder = checkpoint_folder(arguments.model, arguments.revision, arguments.offline)
    frames = list(each_frame(arguments.images))
    engine = Engine.load(folder, arguments.device, "float32")
    tokenizer, device = engine.tokenizer, engine.device
    ours = list(progress("ours", run_ours(engine, frames, arguments.tokens), len(frames)))
    del engine  # before the peer comes
    theirs = list(progress("transformers", run_peer(folder, device, frames, arguments.tokens), len(frames)))
    agreements = [compare(a, b, tokenizer) for a, b in zip(ours, theirs, strict=True)]
    for one in agreements:
        print(json.dumps(asdict(one)) if arguments.json else line(one))
    bad = sum(not one.good for one in agreements)
    if not arguments.json:
        print(f"{len(agreements) - bad} of {len(agreements)} agree." if bad else "All agree.")
    return 1 if bad else 0


def progress(name: str, cases: Iterator[Case], images: int) -> Iterator[Case]:
    return iter(tqdm(cases, desc=name, total=images * len(PROMPTS), unit="prompt", disable=None, leave=False))


@torch.inference_mode()
def run_ours(engine: Engine, frames: Sequence[tuple[str, Pixels]], tokens: int) -> Iterator[Case]:
    size = engine.model.config.vision_config.image_size
    for name, pixels in frames:
        view = engine.look(pixels)
        for prompt, request in PROMPTS.items():
            ids = engine.prefiller.expand([IMAGE, *prompt_ids(engine.tokenizer, request)], start=True)
            said = engine.generate_ids(view, request, Decoding(max_new_tokens=tokens, released=True))
            x, _ = engine.prefiller.embed([ids + said], list(view.features))
            positions = torch.arange(x.shape[1], device=x.device)[None]
            hidden = engine.model.decoder(x, positions, None, True, None)
            logits = engine.model.decoder.logits(hidden[:, len(ids) - 1 : -1].contiguous())[0]
            yield Case(name, prompt, ids, torch.from_numpy(preprocess(pixels, size)), said, logits.cpu())


@torch.inference_mode()
def run_peer(
    folder: Path, device: torch.device, frames: Sequence[tuple[str, Pixels]], tokens: int
) -> Iterator[Case]:
    model, processor = load_peer(folder, device)
    end = processor.tokenizer.eos_token_id
    for name, pixels in frames:
        for prompt, text in TEXTS.items():
            inputs = processor(
                images=Image.fromarray(pixels),
                text=text,
                return_tensors="pt",
                num_image_tokens=model.config.latent_query_num,
            ).to(device)
            length = inputs["input_ids"].shape[1]
            settings = {"do_sample": False, "num_beams": 1, "no_repeat_ngram_size": 3, "eos_token_id": end}
            out = model.generate(**inputs, max_new_tokens=tokens, **settings)
            said = list(takewhile(lambda number: number != end, out[0, length:].tolist()))
            whole = out[:, : length + len(said)]
            mask = torch.nn.functional.pad(inputs["image_embeds_position_mask"], (0, len(said)))
            logits = model(
                pixel_values=inputs["pixel_values"], input_ids=whole, image_embeds_position_mask=mask
            ).logits[0, length - 1 : -1]
            prompt_ids = inputs["input_ids"][0].tolist()
            yield Case(name, prompt, prompt_ids, inputs["pixel_values"][0].cpu(), said, logits.cpu())


def load_peer(folder: Path, device: torch.device) -> tuple[Any, Any]:
    try:
        from transformers import AutoProcessor, Kosmos2ForConditionalGeneration
    except ImportError:
        raise InputError("verify compares with transformers: `pip install transformers`.") from None
    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        model = Kosmos2ForConditionalGeneration.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32
        )
    except (OSError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise ModelError(f"transformers cannot load {folder} ({reason}).") from None
    return model.eval().to(device), processor


def compare(ours: Case, theirs: Case, tokenizer: Tokenizer) -> Agreement:
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ours.ids, theirs.ids, strict=False)))
    until = min(same + 1, len(ours.logits), len(theirs.logits))  # up to the first id that differs
    difference = (ours.logits[:until] - theirs.logits[:until]).abs()
    logits = float(difference.max()) if difference.numel() else 0.0
    pixels = float((ours.pixels - theirs.pixels).abs().max())
    said, expected = (parse_ids(tokenizer, spoken_from(tokenizer, one)) for one in (ours, theirs))
    boxes = said.phrases == expected.phrases
    prompt = ours.prompt_ids == theirs.prompt_ids
    of = max(len(ours.ids), len(theirs.ids))
    good = prompt and pixels <= PIXELS and logits <= LOGITS and same == of and boxes
    return Agreement(
        *(ours.image, ours.prompt, prompt, pixels, logits),
        ids=same,
        of=of,
        boxes=boxes,
        good=good,
    )


def spoken_from(tokenizer: Tokenizer, case: Case) -> list[int]:
    return trailing_phrase(tokenizer.control, case.prompt_ids) + case.ids


def line(one: Agreement) -> str:
    return (
        f"{'agrees' if one.good else 'DIFFERS'}  {one.image}, {one.prompt}:"
        f" prompt {'same' if one.prompt_ids else 'other'}, pixels {one.pixels:.0e}, logits {one.logits:.0e},"
        f" ids {one.ids} of {one.of}, boxes {'same' if one.boxes else 'other'}"
    )
