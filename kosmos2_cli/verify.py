"""The command `kosmos2 verify`: compares a checkpoint's outputs here with those of transformers.

With `--photos` it checks the checkpoint's behaviour instead, see `kosmos2_cli.verify_photos`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kosmos2_cli.main import CliCommand
from kosmos2_cli.options import add_model, load_engine
from kosmos2_core.errors import InputError, ModelError
from kosmos2_core.requests import Caption, Complete, GenerationRequest

if TYPE_CHECKING:  # importing torch takes seconds
    import torch
    from torch import Tensor

    from kosmos2_core.engine import Engine
    from kosmos2_core.images import Pixels
    from kosmos2_core.tokenizer import Tokenizer

EXAMPLES = """
Examples:

  kosmos2 verify --model microsoft/kosmos-2-patch14-224 desk.png 'frames/*.jpg'
  kosmos2 verify --model microsoft/kosmos-2-patch14-224 --photos

Runs the checkpoint in this package and in transformers, one after the other, in float32, on your images, and
compares prompts, pixels, logits, generated tokens and boxes. Exit code 0: all agree. Exit code 1: there is a
difference. One model is in memory at a time: 6.7 GB for the public checkpoint.

With --photos, asks the checkpoint about photographs that Python packages ship (`pip install
'kosmos2[photos]'`) and whose contents we labelled: phrases, captions and questions. Exit code 0: it behaves
as Kosmos-2 should. Exit code 1: it does not, which is expected of models/tabletop-tiny.
"""

REQUESTS: dict[str, GenerationRequest] = {
    "caption": Caption(),
    "detailed caption": Caption(detailed=True),
    "caption without boxes": Caption(ground=False),
    "phrase": Complete("[the object]", ground=True),
}
TEXTS = {  # the same requests, as transformers takes them
    "caption": "<grounding> An image of",
    "detailed caption": "<grounding> Describe this image in detail:",
    "caption without boxes": "An image of",
    "phrase": "<grounding><phrase> the object</phrase>",
}
PHOTOS_OUT = Path("out/photos")
MAX_LOGIT_DIFFERENCE, MAX_PIXEL_DIFFERENCE = 1e-3, 1e-5


@dataclass(frozen=True)
class ModelOutput:
    """Output of one of the two implementations for an image and a prompt.

    Args:
        image: name of the image.
        prompt: name of the prompt, a key of REQUESTS.
        prompt_ids: token ids of the prompt.
        pixels: the preprocessed image, (3, S, S).
        ids: generated token ids.
        logits: (number of ids, V), from which each of the ids was chosen.
    """

    image: str
    prompt: str
    prompt_ids: list[int]
    pixels: Tensor
    ids: list[int]
    logits: Tensor


@dataclass(frozen=True)
class Agreement:
    """Agreement of the two implementations on an image and a prompt.

    Args:
        image: name of the image.
        prompt: name of the prompt.
        prompt_ids: the token ids of the prompt are equal.
        pixels: largest difference between preprocessed pixels.
        logits: largest difference between logits, up to the first generated id that differs.
        ids: number of generated ids that are equal, from the first one on.
        of: number of generated ids.
        boxes: the phrases and boxes in the generated text are equal.
        good: everything above is equal, or within its tolerance.
    """

    image: str
    prompt: str
    prompt_ids: bool
    pixels: float
    logits: float
    ids: int
    of: int
    boxes: bool
    good: bool


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images",
        nargs="*",
        metavar="IMAGE",
        help="image file, http(s) address, folder, pattern in quotes, or video",
    )
    parser.add_argument(
        "--photos", action="store_true", help="check the answers about labelled photographs instead"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=PHOTOS_OUT,
        metavar="DIR",
        help="folder for the pictures of --photos (default: %(default)s)",
    )
    parser.add_argument(
        "--tokens", type=int, default=32, metavar="N", help="tokens to generate per prompt (default: 32)"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one line of JSON per image and prompt, or one for --photos"
    )
    add_model(parser, quantize="none")


def _run(arguments: argparse.Namespace) -> int:
    if arguments.photos == bool(arguments.images):
        raise InputError("verify takes images, or --photos: give one of the two.")
    if arguments.photos:
        from kosmos2_cli.verify_photos import verify_photos

        return verify_photos(arguments)
    if arguments.dtype not in ("auto", "float32"):
        raise InputError(
            f"verify compares in float32: omit --dtype {arguments.dtype}, whose rounding would be compared."
        )
    from kosmos2_cli.image_sources import read_images
    from kosmos2_core.checkpoint import checkpoint_folder

    images = list(read_images(arguments.images))
    folder = checkpoint_folder(arguments.model, arguments.revision, arguments.offline)
    arguments.dtype = "float32"
    engine = load_engine(arguments, folder)
    tokenizer, device = engine.tokenizer, engine.device
    ours = list(_progress("kosmos2", run_ours(engine, images, arguments.tokens), len(images)))
    del engine  # frees its memory before the other model is loaded
    theirs = list(
        _progress("transformers", run_transformers(folder, device, images, arguments.tokens), len(images))
    )
    agreements = [compare(*outputs, tokenizer) for outputs in zip(ours, theirs, strict=True)]
    for agreement in agreements:
        print(json.dumps(asdict(agreement)) if arguments.json else format_agreement(agreement))
    bad = sum(not agreement.good for agreement in agreements)
    if not arguments.json:
        print(f"{len(agreements) - bad} of {len(agreements)} agree." if bad else "All agree.")
    return 1 if bad else 0


def _progress(name: str, outputs: Iterator[ModelOutput], images: int) -> Iterator[ModelOutput]:
    from tqdm import tqdm

    total = images * len(REQUESTS)
    return iter(tqdm(outputs, desc=name, total=total, unit="prompt", disable=None, leave=False))


def run_ours(engine: Engine, images: Sequence[tuple[str, Pixels]], tokens: int) -> Iterator[ModelOutput]:
    """Yield what this package computes for each image and prompt."""
    import torch

    from kosmos2_core import prompts
    from kosmos2_core.decoding import Decoding
    from kosmos2_core.images import preprocess

    size = engine.model.config.vision_config.image_size
    for name, pixels in images:
        view = engine.look(pixels)
        for prompt, request in REQUESTS.items():
            words = prompts.prompt_ids(engine.tokenizer, request)
            prompt_ids = engine.prefiller.expand([prompts.IMAGE, *words], start=True)
            ids = engine.generate_ids(view, request, Decoding(max_new_tokens=tokens, released=True))
            with torch.inference_mode():
                x, _ = engine.prefiller.embed([prompt_ids + ids], list(view.features))  # (1, T, C)
                positions = torch.arange(x.shape[1], device=x.device)[None]
                hidden = engine.model.decoder(x, positions, None, True, None)
                logits = engine.model.decoder.logits(hidden[:, len(prompt_ids) - 1 : -1].contiguous())[0]
            prepared = torch.from_numpy(preprocess(pixels, size))
            yield ModelOutput(name, prompt, prompt_ids, prepared, ids, logits.cpu())


def run_transformers(
    folder: Path, device: torch.device, images: Sequence[tuple[str, Pixels]], tokens: int
) -> Iterator[ModelOutput]:
    """Yield what transformers computes for each image and prompt."""
    import torch
    from PIL import Image

    model, processor = _load_transformers(folder, device)
    end = processor.tokenizer.eos_token_id
    for name, pixels in images:
        for prompt, text in TEXTS.items():
            inputs = processor(
                images=Image.fromarray(pixels),
                text=text,
                return_tensors="pt",
                num_image_tokens=model.config.latent_query_num,
            ).to(device)
            length = inputs["input_ids"].shape[1]
            settings = {"do_sample": False, "num_beams": 1, "no_repeat_ngram_size": 3, "eos_token_id": end}
            with torch.inference_mode():
                out = model.generate(**inputs, max_new_tokens=tokens, **settings)
                ids = list(takewhile(lambda token: token != end, out[0, length:].tolist()))
                mask = torch.nn.functional.pad(inputs["image_embeds_position_mask"], (0, len(ids)))
                logits = model(
                    pixel_values=inputs["pixel_values"],
                    input_ids=out[:, : length + len(ids)],
                    image_embeds_position_mask=mask,
                ).logits[0, length - 1 : -1]
            prompt_ids = inputs["input_ids"][0].tolist()
            yield ModelOutput(name, prompt, prompt_ids, inputs["pixel_values"][0].cpu(), ids, logits.cpu())


def _load_transformers(folder: Path, device: torch.device) -> tuple[Any, Any]:
    """Return model and processor of transformers."""
    import torch
    from transformers import AutoProcessor, Kosmos2ForConditionalGeneration

    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)  # type: ignore[no-untyped-call]
        model = Kosmos2ForConditionalGeneration.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32
        )
    except (OSError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise ModelError(f"transformers cannot load {folder} ({reason}).") from None
    return model.eval().to(device), processor  # type: ignore[no-untyped-call]


def compare(ours: ModelOutput, theirs: ModelOutput, tokenizer: Tokenizer) -> Agreement:
    """Compare the outputs of the two implementations for the same image and prompt."""
    pairs = zip(ours.ids, theirs.ids, strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    until = min(same + 1, len(ours.logits), len(theirs.logits))  # up to the first id that differs
    difference = (ours.logits[:until] - theirs.logits[:until]).abs()
    logits = float(difference.max()) if difference.numel() else 0.0
    pixels = float((ours.pixels - theirs.pixels).abs().max())
    boxes = _phrases_of(tokenizer, ours) == _phrases_of(tokenizer, theirs)
    prompt = ours.prompt_ids == theirs.prompt_ids
    longest = max(len(ours.ids), len(theirs.ids))
    close = pixels <= MAX_PIXEL_DIFFERENCE and logits <= MAX_LOGIT_DIFFERENCE
    return Agreement(
        *(ours.image, ours.prompt, prompt, pixels, logits),
        ids=same,
        of=longest,
        boxes=boxes,
        good=prompt and close and same == longest and boxes,
    )


def _phrases_of(tokenizer: Tokenizer, output: ModelOutput) -> Any:
    """Return the phrases and boxes of the generated text; a phrase may begin in the prompt."""
    from kosmos2_core.grounded_text import parse_ids, trailing_phrase

    return parse_ids(tokenizer, trailing_phrase(tokenizer.control, output.prompt_ids) + output.ids).phrases


def format_agreement(agreement: Agreement) -> str:
    """Return one line for a reader."""
    return (
        f"{'agrees' if agreement.good else 'DIFFERS'}  {agreement.image}, {agreement.prompt}:"
        f" prompt {'same' if agreement.prompt_ids else 'different'}, pixels differ by {agreement.pixels:.0e},"
        f" logits by {agreement.logits:.0e}, {agreement.ids} of {agreement.of} ids same,"
        f" boxes {'same' if agreement.boxes else 'different'}"
    )


VERIFY = CliCommand(_add_arguments, _run, EXAMPLES)
