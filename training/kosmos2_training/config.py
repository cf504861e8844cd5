"""The settings of a training, read from a YAML file.

Every value is checked, and every mistake becomes an InputError with one sentence that names the setting.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from kosmos2_core.config import Config, TextConfig, VisionConfig
from kosmos2_core.errors import InputError
from kosmos2_core.regular_files import read_regular_text

SCRATCH = "scratch"


def _number(value: object) -> object:
    """Convert a number that YAML reads as text, such as 2e-4."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Integer = Annotated[int, Field(strict=True)]
Number = Annotated[float, BeforeValidator(_number), Field(strict=True, allow_inf_nan=False)]
Fraction = Annotated[Number, Field(ge=0, lt=1)]
Positive = Annotated[Integer, Field(ge=1)]


class Settings(BaseModel):
    """Settings that cannot be changed and that have no names beside the known ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSource(Settings):
    """A data set to learn from."""

    path: str  # of the records, relative to the folder of the command
    weight: Annotated[Number, Field(gt=0)] = 1.0  # how often it is drawn from, relative to the others


class OptimiserSettings(Settings):
    """The optimiser and its schedule. The defaults are those of the paper's pre-training."""

    name: Literal["adamw", "muon"] = "adamw"
    learning_rate: Annotated[Number, Field(gt=0)] = 2e-4
    betas: tuple[Fraction, Fraction] = (0.9, 0.98)
    weight_decay: Annotated[Number, Field(ge=0)] = 0.01
    warmup: Annotated[Integer, Field(ge=0)] = 375  # steps
    decay: Annotated[Number, Field(gt=0, le=1)] = 1.0  # the final part of the steps, with a falling rate
    clip: Annotated[Number, Field(ge=0)] = 2.0  # the largest norm of the gradient; 0: no limit


class EvaluationSettings(Settings):
    """The evaluation on held-out data during the training."""

    data: str = ""  # records that are not trained on; empty: no evaluation
    interval: Positive = Field(default=500, alias="every")  # steps
    images: Positive = 64


class CheckpointSettings(Settings):
    """The checkpoints that a training can resume from."""

    interval: Positive = Field(default=500, alias="every")  # steps
    keep: Positive = 2


class ModelSettings(Settings):
    """The shape of a model that is trained from scratch. The defaults are those of the public checkpoint."""

    vision_config: VisionConfig = VisionConfig()
    text_config: TextConfig = TextConfig()
    latent_query_num: Integer = 64
    words: Integer = 1000  # in the vocabulary; other words are spelt letter by letter

    def config(self, vocab_size: int) -> Config:
        """Return the model's configuration for a vocabulary of this size."""
        text = dataclasses.replace(self.text_config, vocab_size=vocab_size)
        return Config(self.vision_config, text, self.latent_query_num)


class TrainingSettings(Settings):
    """All settings of a training.

    Raises:
        InputError: a setting is unknown, missing or has a wrong value.
    """

    run: str  # the folder that everything is written to, relative to the folder of the command
    data: Annotated[tuple[DataSource, ...], Field(min_length=1)]
    steps: Positive
    start: str = SCRATCH  # or a checkpoint: a folder or a name on the hub
    model: ModelSettings = ModelSettings()
    seed: Annotated[Integer, Field(ge=0)] = 0
    batch: Positive = 32  # images per step
    accumulate: Positive = 1  # parts that a batch is divided into
    tokens: Annotated[Integer, Field(ge=16)] = 320  # largest number for an image and its texts
    augment: Annotated[bool, Field(strict=True)] = True
    soft_targets: Annotated[Number, Field(ge=0)] = 0.0  # sigma of a location token's target, in grid cells
    auxiliary: Annotated[Number, Field(ge=0)] = 0.0  # weight of the loss from the true masks
    dropout: Fraction | None = None  # None: as in the model's configuration
    freeze: tuple[str, ...] = ()  # prefixes of the names of weights that are not trained: vision, ...
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: what is fast on the device
    workers: Annotated[Integer, Field(ge=0)] = 1  # processes that prepare batches
    skip_steps: tuple[Positive, ...] = ()  # steps that do not update the weights
    optimiser: OptimiserSettings = OptimiserSettings()
    evaluate: EvaluationSettings = EvaluationSettings()
    checkpoints: CheckpointSettings = CheckpointSettings()

    @model_validator(mode="after")
    def _check_accumulate(self) -> Self:
        if self.accumulate > self.batch:
            raise ValueError(
                f"accumulate is {self.accumulate}: from 1 to the batch's {self.batch} is needed."
            )
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_sentence(cls, values: Any, validate: Callable[[Any], Self]) -> Self:
        try:
            return validate(values)
        except ValidationError as error:
            raise InputError(_sentence(error)) from None


MAX_CONFIG_BYTES = 2**20


def read_training(file: Path) -> TrainingSettings:
    """Read the settings of a training from a YAML file.

    Raises:
        InputError: the file cannot be read, or a setting is wrong; the sentence begins with the file's name.
    """
    try:
        text = read_regular_text(file, MAX_CONFIG_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read ({error}): name a training's YAML file.") from None
    try:
        values = yaml.safe_load(text)
    except RecursionError:
        raise InputError(f"{file} is nested too deep for a training's YAML file.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise InputError(f"{file} is not valid YAML{line}: {getattr(error, 'problem', error)}.") from None
    try:
        return TrainingSettings.model_validate(values)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None


# What is needed instead of a wrong value, by pydantic's type of the error.
NEEDED = {
    "bool_type": "true or false",
    "dataclass_type": "a table",
    "finite_number": "a number",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "model_type": "a table",
    "string_type": "text",
    "tuple_type": "a list",
}


def _sentence(error: ValidationError) -> str:
    """Return one sentence about the first mistake; unknown names come first, as they explain missing ones."""
    details = error.errors()
    unknown = ("extra_forbidden", "unexpected_keyword_argument")
    first = next((detail for detail in details if detail["type"] in unknown), details[0])
    kind, location, value = first["type"], first["loc"], first["input"]
    name = ".".join(part for part in location if isinstance(part, str))
    context: dict[str, Any] = first.get("ctx", {})
    if kind in unknown:
        return _unknown_name(name, location)
    if kind == "value_error":
        return str(context["error"])
    if not location:
        return f"the file must be a list of `name: value`, and is {value!r}."
    if kind == "missing" and isinstance(location[-1], str):
        return f"{name} is missing."
    return f"{name} is {value!r}: {_needed(kind, context, first['msg'])} needed."


def _needed(kind: str, context: dict[str, Any], message: str) -> str:
    """Return what is needed instead of a wrong value, with its verb."""
    match kind:
        case "missing":  # an element of a tuple of fixed length; the only such setting is a pair
            return "2 values are"
        case "too_long":
            return f"{context['max_length']} values are"
        case "too_short":
            return "a list with at least one path is"
        case "greater_than_equal":
            return f"{context['ge']:g} or more is"
        case "greater_than":
            return f"a value above {context['gt']:g} is"
        case "less_than":
            return f"a value below {context['lt']:g} is"
        case "less_than_equal":
            return f"at most {context['le']:g} is"
        case "literal_error":
            return f"{context['expected'].replace(chr(39), '')} is"
    return f"{NEEDED.get(kind, message)} is"


def _unknown_name(name: str, location: tuple[int | str, ...]) -> str:
    """Return the sentence about a name that is not a setting, with the nearest one that is."""
    known = _names_at(location[:-1])
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    hint = f", did you mean {near[0]}?" if near else f": known are {', '.join(known)}."
    return f"there is no setting {name}{hint}"


def _names_at(location: tuple[int | str, ...]) -> list[str]:
    """Return the names of the settings in a table of the file."""
    tables: dict[str, type[Any]] = {
        "": TrainingSettings,
        "data": DataSource,
        "model": ModelSettings,
        "model.vision_config": VisionConfig,
        "model.text_config": TextConfig,
        "optimiser": OptimiserSettings,
        "evaluate": EvaluationSettings,
        "checkpoints": CheckpointSettings,
    }
    table = tables[".".join(part for part in location if isinstance(part, str))]
    if issubclass(table, Settings):
        return [field.alias or name for name, field in table.model_fields.items()]
    return [field.name for field in dataclasses.fields(table)]
