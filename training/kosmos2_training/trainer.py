"""The trainer: the model, its optimisers and its data. A step updates the weights once.

At any step everything can be saved, and a new trainer resumes from the last checkpoint.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from kosmos2_core.checkpoint import checkpoint_folder, load_model, save_model
from kosmos2_core.engine import choose_device
from kosmos2_core.errors import InputError
from kosmos2_core.files import write_errors
from kosmos2_core.linear import NATIVE_BFLOAT16
from kosmos2_core.model import Attention, Decoder, DecoderBlock, Kosmos2, TokenSelection
from kosmos2_core.tokenizer import Tokenizer
from kosmos2_data.record_source import RecordSource
from kosmos2_data.records import Record
from kosmos2_training.batches import BatchShape, TrainingBatch, TrainingSample, collate
from kosmos2_training.config import SCRATCH, TrainingSettings
from kosmos2_training.data_loader import StepBatches, TrainingData
from kosmos2_training.from_scratch import make_vocabulary, start_model, texts_of
from kosmos2_training.losses import AuxiliaryHeads, answer_loss
from kosmos2_training.optimiser import make_optimisers, rate_at, set_rate
from kosmos2_training.patch_targets import ObjectClasses
from kosmos2_training.run_folder import (
    STATE,
    StepMetrics,
    check_run,
    last_step,
    load_state,
    remove_old_steps,
    save_state,
    step_folder,
    written_whole,
)

CLASS_RECORDS = 2000  # records whose truths name all classes of objects
SHOWN_RECORDS = 8  # in an error message
VOCABULARY_RECORDS = 20000  # records whose texts the vocabulary is made from
TOKENIZER = "tokenizer"


class Trainer:
    """Trains a model.

    Args:
        settings: the settings of the training.
        base: the folder that the paths in the settings are relative to.
        device: auto, cpu, cuda or cuda:1.

    Raises:
        InputError: the data, the checkpoint or a setting cannot be used.
    """

    def __init__(self, settings: TrainingSettings, base: Path, device: str = "auto") -> None:
        self.settings, self.run = settings, base / settings.run
        self.device = choose_device(device)
        self.sources = [_open_source(base / source.path) for source in settings.data]
        with write_errors(self.run):
            self.run.mkdir(parents=True, exist_ok=True)
        check_run(self.run)
        self.model, self.tokenizer_folder = self._make_model(base)
        self.tokenizer = Tokenizer.load(self.tokenizer_folder)
        classes = ObjectClasses.from_records(self._records(CLASS_RECORDS)) if settings.auxiliary else None
        if settings.auxiliary and classes is None:
            raise InputError("auxiliary is above 0, but the data names no objects (`truths`): set it to 0.")
        self.data = TrainingData(settings, self.sources, self.tokenizer, self._batch_shape(), classes)
        self.heads = AuxiliaryHeads(self.model.config, classes).to(self.device) if classes else None
        self.optimisers = make_optimisers(self.model, self.heads, settings.optimiser)
        self.step, self.best, self.skipped = 0, -1.0, 0
        self._resume()

    # Setting up.

    def _make_model(self, base: Path) -> tuple[Kosmos2, Path]:
        """Return the model to train and the folder of its tokenizer."""
        settings = self.settings
        if settings.start == SCRATCH:
            folder = self._make_tokenizer()
            tokenizer = Tokenizer.load(folder)
            config = settings.model.config(-(-tokenizer.size // 8) * 8)
            model = start_model(config, tokenizer.control, settings.seed)
        else:
            local = base / settings.start
            folder = checkpoint_folder(str(local) if local.exists() else settings.start)
            model = load_model(folder, dtype=torch.float32)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not name.startswith(settings.freeze) if settings.freeze else True)
        self._check_freeze(model)
        if settings.dropout is not None:
            _set_dropout(model, settings.dropout)
        return model.to(self.device).train(), folder

    def _check_freeze(self, model: Kosmos2) -> None:
        names = [name for name, _ in model.named_parameters()]
        for prefix in self.settings.freeze:
            if not any(name.startswith(prefix) for name in names):
                raise InputError(
                    f"freeze names {prefix}, but no weight's name begins with it: give the beginning of a"
                    f" name such as {names[-1]}."
                )
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise InputError("freeze names all weights, so nothing is left to train: remove a prefix.")

    def _make_tokenizer(self) -> Path:
        """Return the folder of the run's tokenizer; make it from the data if it does not exist."""
        folder = self.run / TOKENIZER
        if not folder.exists():
            shape = self.settings.model
            with written_whole(folder) as new:
                texts = texts_of(self._records(VOCABULARY_RECORDS))
                make_vocabulary(texts, shape.words, new, shape.vision_config.image_size)
        return folder

    def _records(self, most: int) -> Iterator[Record]:
        """Yield up to `most` good records, taken from all sources."""
        for source in self.sources:
            for number in range(min(len(source), most // len(self.sources))):
                record = source.read(number)
                if isinstance(record, Record):
                    yield record

    def _batch_shape(self) -> BatchShape:
        config = self.model.config
        vision = config.vision_config
        least = config.latent_query_num + 16
        if self.settings.tokens < least:
            raise InputError(
                f"tokens is {self.settings.tokens}: an image alone takes {config.latent_query_num};"
                f" {least} or more are needed."
            )
        return BatchShape(
            vision.image_size,
            vision.image_size // vision.patch_size,
            config.latent_query_num,
            self.settings.tokens,
        )

    def _resume(self) -> None:
        """Load the last checkpoint of the run, if there is one."""
        found = last_step(self.run)
        if found is None:
            return
        self.step, folder = found
        self.model.load_state_dict(load_model(folder).state_dict())
        values = load_state(folder / STATE, self.optimisers, {"heads": self.heads} if self.heads else {})
        self.best, self.skipped = values["best"], values["skipped"]

    # One step.

    def train_step(self, step: StepBatches) -> StepMetrics:
        """Update the weights once.

        Raises:
            InputError: the loss or the gradient became NaN or infinite.
        """
        self.model.train()
        rate = rate_at(self.step, self.settings.steps, self.settings.optimiser)
        set_rate(self.optimisers, rate)
        for optimiser in self.optimisers.values():
            optimiser.zero_grad(set_to_none=True)
        answers, auxiliary = 0.0, 0.0
        for part in step.parts:
            answer_part, auxiliary_part = self._losses(part.to(self.device), step.target_count)
            torch.autograd.backward(answer_part + self.settings.auxiliary * auxiliary_part)
            answers += float(answer_part.detach())
            auxiliary += float(auxiliary_part.detach())
        gradient = float(clip_grad_norm_(self._trained(), self.settings.optimiser.clip or float("inf")))
        if not math.isfinite(answers + auxiliary + gradient):
            raise self._divergence("the loss", self.step + 1)
        for optimiser in self.optimisers.values():
            optimiser.step()
        self.step += 1
        self.skipped += step.skipped
        return StepMetrics(answers, auxiliary, gradient, rate)

    def skip_step(self, step: StepBatches) -> None:
        """Leave the weights as they are in a step that the setting `skip_steps` names."""
        self.step += 1
        self.skipped += step.skipped

    def check_weights(self) -> None:
        """Raise an InputError if a weight is NaN or infinite: such weights are not to be saved."""
        if not all(bool(parameter.isfinite().all()) for parameter in self._trained()):
            raise self._divergence("a weight", self.step)

    def _divergence(self, what: str, number: int) -> InputError:
        """Return the error of a step that made something NaN or infinite, with its records and what to do."""
        drawn = list(self.data.samples_of(number - 1))
        broken = [(file, line) for file, line, sample in drawn if not math.isfinite(self._loss_of(sample))]
        saved = last_step(self.run)
        go_on = f"rerun the command to resume after step {saved[0]}" if saved else "rerun the command"
        if 0 < len(broken) < len(drawn):
            where, advice = _shown_records(broken), f"add {number} to the setting skip_steps"
        else:
            where = _shown_records([(file, line) for file, line, _ in drawn])
            advice = "lower optimiser.learning_rate or optimiser.clip"
            if saved and saved[0] == number - 1:  # the same weights again, whatever the settings
                go_on = f"remove {saved[1]}, whose weights are broken, and rerun the command"
        return InputError(
            f"{what} became NaN or infinite in step {number}, on {where}: {advice}, and {go_on}."
        )

    @torch.no_grad()
    def _loss_of(self, sample: TrainingSample) -> float:
        batch = collate([sample], self.tokenizer, self.data.shape).to(self.device)
        answer_part, auxiliary_part = self._losses(batch, max(len(batch.targets), 1))
        return float(answer_part + auxiliary_part)

    def _trained(self) -> list[Tensor]:
        """Return all weights that the optimisers update."""
        groups = [group for optimiser in self.optimisers.values() for group in optimiser.param_groups]
        return [parameter for group in groups for parameter in group["params"]]

    def _losses(self, batch: TrainingBatch, target_count: int) -> tuple[Tensor, Tensor]:
        """Return a part's contributions to the step's mean answer loss and mean auxiliary loss."""
        with torch.autocast(self.device.type, torch.bfloat16) if self._uses_bfloat16() else nullcontext():
            features, tokens, logits = self._forward(batch)
        control, sigma = self.tokenizer.control, self.settings.soft_targets
        answers = answer_loss(logits, batch.targets, batch.corners, control, sigma) / target_count
        if self.heads is None:
            return answers, torch.zeros_like(answers)
        share = len(batch.pixels) / self.settings.batch
        return answers, share * self.heads(features, tokens, batch.patches, batch.latents)

    def _uses_bfloat16(self) -> bool:
        precision = self.settings.precision
        is_fast = self.device.type == "cuda" or NATIVE_BFLOAT16
        return precision == "bfloat16" or (precision == "auto" and is_fast)

    def _forward(self, batch: TrainingBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the vision features, the image tokens, and the logits of the tokens to learn."""
        model = self.model
        features = model.vision(batch.pixels)
        tokens = model.connector(features)
        x = model.embed(batch.ids, tokens, batch.slots)
        selection = TokenSelection(batch.rows, batch.indices, len(x))
        hidden = model.decoder(x, batch.positions, batch.mask, False, None, selection)
        return features, tokens, model.decoder.logits(hidden)

    # Saving.

    def save(self) -> Path:
        """Write a checkpoint to resume from, and return its folder."""
        self.check_weights()
        folder = step_folder(self.run, self.step)
        with written_whole(folder) as new:
            self.save_model(new)
            modules = {"heads": self.heads} if self.heads else {}
            values = {"step": self.step, "best": self.best, "skipped": self.skipped}
            save_state(new / STATE, self.optimisers, modules, values)
        remove_old_steps(self.run, self.settings.checkpoints.keep)
        return folder

    def save_model(self, folder: Path) -> None:
        """Write the model with its tokenizer into a folder."""
        save_model(self.model, folder)
        for file in self.tokenizer_folder.iterdir():
            if file.suffix == ".json" and file.name not in ("config.json", "calibration.json"):
                shutil.copyfile(file, folder / file.name)


def _shown_records(records: Sequence[tuple[Path, int]]) -> str:
    """Return the lines of records for an error message; of many, the first ones."""
    shown = [f"line {line} of {file}" for file, line in records[:SHOWN_RECORDS]]
    more = len(records) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _open_source(path: Path) -> RecordSource:
    source = RecordSource(path)
    if not len(source):
        raise InputError(f"{source.file} has no records: name data to learn from.")
    return source


def _set_dropout(model: Kosmos2, dropout: float) -> None:
    for module in model.modules():
        if isinstance(module, Attention | DecoderBlock | Decoder):
            module.dropout = dropout
