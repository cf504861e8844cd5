"""What learns: the model, its optimisers and its data; a step moves the weights once, and at any step all
of it can be saved, to go on from."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from kosmos2_core.checkpoint import checkpoint_folder, load_model, save_model
from kosmos2_core.engine import choose_device
from kosmos2_core.errors import InputError
from kosmos2_core.linear import NATIVE_BFLOAT16
from kosmos2_core.model import Attention, Decoder, DecoderBlock, Kosmos2, TokenSelection
from kosmos2_core.tokenizer import Tokenizer
from kosmos2_data.record_source import RecordSource
from kosmos2_data.records import Record
from kosmos2_training.batches import Batch, Shape
from kosmos2_training.cells import Names
from kosmos2_training.config import SCRATCH, Training
from kosmos2_training.feed import Feed, Step
from kosmos2_training.losses import Auxiliary, answer_loss
from kosmos2_training.optimiser import make_optimisers, rate_at, set_rate
from kosmos2_training.run_folder import (
    STATE,
    forget_steps,
    last_step,
    load_state,
    save_state,
    step_folder,
    written_whole,
)
from kosmos2_training.start import start_model
from kosmos2_training.vocabulary import make_vocabulary, texts_of

NAMED = 2000  # records in which all names of objects are thought to occur
TEXTS = 20000  # records whose text a vocabulary is learnt from
TOKENIZER = "tokenizer"


@dataclass(frozen=True)
class Outcome:
    """Of a step."""

    answers: float  # the mean loss of a learnt token
    auxiliary: float  # of a cell
    gradient: float  # its length before it was clipped
    rate: float  # the learning rate


class Trainer:
    def __init__(self, training: Training, base: Path, device: str = "auto") -> None:
        """base: the folder that the settings' paths are relative to."""
        self.training, self.run = training, base / training.run
        self.device = choose_device(device)
        self.sources = [_source(base / one.path) for one in training.data]
        self.run.mkdir(parents=True, exist_ok=True)
        self.model, self.tokenizer_folder = self._start(base)
        self.tokenizer = Tokenizer.load(self.tokenizer_folder)
        names = Names.of(self._some(NAMED)) if training.auxiliary else None
        if training.auxiliary and names is None:
            raise InputError("auxiliary is above 0, but the data names no objects (`truths`): set it to 0.")
        self.feed = Feed(training, self.sources, self.tokenizer, self._shape(), names)
        self.heads = Auxiliary(self.model.config, names).to(self.device) if names else None
        self.optimisers = make_optimisers(self.model, self.heads, training.optimiser)
        self.step, self.best, self.skipped = 0, -1.0, 0
        self._resume()

    # Beginning.

    def _start(self, base: Path) -> tuple[Kosmos2, Path]:
        training = self.training
        if training.start == SCRATCH:
            folder = self._vocabulary()
            tokenizer = Tokenizer.load(folder)
            config = training.model.config(-(-tokenizer.size // 8) * 8)
            model = start_model(config, tokenizer.control, training.seed)
        else:
            local = base / training.start
            folder = checkpoint_folder(str(local) if local.exists() else training.start)
            model = load_model(folder, dtype=torch.float32)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not name.startswith(training.freeze) if training.freeze else True)
        self._check_freeze(model)
        if training.dropout is not None:
            _set_dropout(model, training.dropout)
        return model.to(self.device).train(), folder

    def _check_freeze(self, model: Kosmos2) -> None:
        names = [name for name, _ in model.named_parameters()]
        for prefix in self.training.freeze:
            if not any(name.startswith(prefix) for name in names):
                raise InputError(f"freeze names {prefix}: no weight's name begins so, as {names[-1]} does.")
        if not any(p.requires_grad for p in model.parameters()):
            raise InputError("freeze names all weights: nothing is left to learn.")

    def _vocabulary(self) -> Path:
        folder = self.run / TOKENIZER
        if not folder.exists():
            shape = self.training.model
            size = shape.vision_config.get("image_size", 224)
            with written_whole(folder) as new:
                make_vocabulary(texts_of(self._some(TEXTS)), shape.words, new, size)
        return folder

    def _some(self, most: int) -> Iterator[Record]:
        """Good records of all sources, at most so many."""
        for source in self.sources:
            for number in range(min(len(source), most // len(self.sources))):
                record = source.read(number)
                if isinstance(record, Record):
                    yield record

    def _shape(self) -> Shape:
        config = self.model.config
        vision = config.vision_config
        least = config.latent_query_num + 16
        if self.training.tokens < least:
            raise InputError(
                f"tokens is {self.training.tokens}: an image alone takes {config.latent_query_num};"
                f" {least} or more are needed."
            )
        return Shape(
            vision.image_size,
            vision.image_size // vision.patch_size,
            config.latent_query_num,
            self.training.tokens,
        )

    def _resume(self) -> None:
        found = last_step(self.run)
        if found is None:
            shutil.rmtree(self.run / "best", ignore_errors=True)
            return
        self.step, folder = found
        weights = load_model(folder).state_dict()
        self.model.load_state_dict(weights)
        about = load_state(folder / STATE, self.optimisers, {"heads": self.heads} if self.heads else {})
        self.best, self.skipped = about["best"], about["skipped"]

    # One step.

    def train_step(self, step: Step) -> Outcome:
        """Move the weights once."""
        self.model.train()
        rate = rate_at(self.step, self.training.steps, self.training.optimiser)
        set_rate(self.optimisers, rate)
        for optimiser in self.optimisers.values():
            optimiser.zero_grad(set_to_none=True)
        answers, auxiliary = 0.0, 0.0
        for part in step.parts:
            of_answers, of_cells = self._losses(part.to(self.device), step.learnt)
            torch.autograd.backward(of_answers + self.training.auxiliary * of_cells)
            answers, auxiliary = answers + float(of_answers.detach()), auxiliary + float(of_cells.detach())
        moved = [p for o in self.optimisers.values() for group in o.param_groups for p in group["params"]]
        length = float(clip_grad_norm_(moved, self.training.optimiser.clip or float("inf")))
        if not math.isfinite(answers + auxiliary + length):
            raise InputError(
                f"the loss is no number any more in step {self.step + 1}: lower optimiser.learning_rate and"
                " start again from the last checkpoint."
            )
        for optimiser in self.optimisers.values():
            optimiser.step()
        self.step += 1
        self.skipped += step.skipped
        return Outcome(answers, auxiliary, length, rate)

    def _losses(self, batch: Batch, learnt: int) -> tuple[Tensor, Tensor]:
        """A part's share of the step's two losses."""
        with torch.autocast(self.device.type, torch.bfloat16) if self._narrow() else nullcontext():
            features, tokens, logits = self._forward(batch)
        answers = answer_loss(
            logits, batch.targets, batch.corners, self.tokenizer.control, self.training.soft_targets
        )
        if self.heads is None:
            return answers / learnt, torch.zeros_like(answers)
        share = len(batch.pixels) / self.training.batch
        return answers / learnt, share * self.heads(features, tokens, batch.patches, batch.latents)

    def _narrow(self) -> bool:
        wanted = self.training.precision
        return wanted == "bfloat16" or (wanted == "auto" and (self.device.type == "cuda" or NATIVE_BFLOAT16))

    def _forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Features of the patches, the image's tokens, and the logits of what is learnt."""
        model = self.model
        features = model.vision(batch.pixels)
        tokens = model.connector(features)
        x = model.embed(batch.ids, tokens, batch.slots)
        learnt = TokenSelection(batch.rows, batch.places, len(x))
        hidden = model.decoder(x, batch.positions, batch.mask, False, None, learnt)
        return features, tokens, model.decoder.logits(hidden)

    # Keeping.

    def save(self) -> Path:
        folder = step_folder(self.run, self.step)
        with written_whole(folder) as new:
            self.save_model(new)
            modules = {"heads": self.heads} if self.heads else {}
            about = {"step": self.step, "best": self.best, "skipped": self.skipped}
            save_state(new / STATE, self.optimisers, modules, about)
        forget_steps(self.run, self.training.checkpoints.keep)
        return folder

    def save_model(self, folder: Path) -> None:
        save_model(self.model, folder)
        for file in self.tokenizer_folder.iterdir():
            if file.suffix == ".json" and file.name not in ("config.json", "calibration.json"):
                shutil.copyfile(file, folder / file.name)


def _source(path: Path) -> RecordSource:
    source = RecordSource(path)
    if not len(source):
        raise InputError(f"{source.file} has no records: there is nothing to learn.")
    return source


def _set_dropout(model: Kosmos2, dropout: float) -> None:
    for module in model.modules():
        if isinstance(module, Attention | DecoderBlock | Decoder):
            module.dropout = dropout
