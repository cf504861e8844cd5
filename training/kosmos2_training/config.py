"""A training's settings: a YAML file, every value checked and every mistake named."""

from __future__ import annotations

import dataclasses
import difflib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

from kosmos2_core.config import Config, TextConfig, VisionConfig
from kosmos2_core.errors import InputError

SCRATCH = "scratch"


@dataclass(frozen=True)
class Source:
    path: str  # of the records, relative to the file
    weight: float = 1.0  # how often it is drawn from, relative to the others


@dataclass(frozen=True)
class Optimisation:
    """The paper's, for pre-training."""

    name: str = "adamw"  # or muon
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    warmup: int = 375  # steps
    decay: float = 1.0  # the part of all steps, at the end, in which the rate falls to 0
    clip: float = 2.0  # the gradient's length at most; 0: any


@dataclass(frozen=True)
class Evaluation:
    data: str = ""  # records that are not trained on; none: no evaluation
    every: int = 500  # steps
    images: int = 64


@dataclass(frozen=True)
class Checkpoints:
    every: int = 500  # steps
    keep: int = 2


@dataclass(frozen=True)
class ModelShape:
    """Of a model that starts from scratch; what is not said is the public checkpoint's."""

    vision_config: dict[str, Any] = field(default_factory=dict)
    text_config: dict[str, Any] = field(default_factory=dict)
    latent_query_num: int = 64
    words: int = 1000  # in its vocabulary; others are spelt

    def config(self, vocab_size: int) -> Config:
        return Config(
            make(VisionConfig, self.vision_config, "model.vision_config"),
            make(TextConfig, self.text_config | {"vocab_size": vocab_size}, "model.text_config"),
            self.latent_query_num,
        )


@dataclass(frozen=True)
class Training:
    run: str  # the folder of all that the training writes, relative to the file
    data: tuple[Source, ...]
    steps: int
    start: str = SCRATCH  # or a checkpoint: a folder or a name on the hub
    model: ModelShape = field(default_factory=ModelShape)
    seed: int = 0
    batch: int = 32  # images a step
    accumulate: int = 1  # in so many parts
    tokens: int = 320  # of an image and all that is said of it
    augment: bool = True
    soft_targets: float = 0.0  # the width of a location token's target, in cells; 0: one cell alone
    auxiliary: float = 0.0  # the weight of what the true masks teach
    dropout: float | None = None  # None: the model's own
    freeze: tuple[str, ...] = ()  # what stays as it is, by the beginning of its name: vision, connector, ...
    precision: str = "auto"  # float32 or bfloat16; auto: what is fast here
    workers: int = 1  # processes that prepare batches
    optimiser: Optimisation = field(default_factory=Optimisation)
    evaluate: Evaluation = field(default_factory=Evaluation)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)

    def __post_init__(self) -> None:
        at_least = {"steps": 1, "batch": 1, "tokens": 16, "workers": 0, "seed": 0}
        for name, lowest in at_least.items():
            _demand(getattr(self, name) >= lowest, name, getattr(self, name), f"{lowest} or more")
        _demand(bool(self.data), "data", "empty", "a list with at least one path")
        parts = f"from 1 to the batch's {self.batch}"
        _demand(1 <= self.accumulate <= self.batch, "accumulate", self.accumulate, parts)
        for source in self.data:
            _demand(source.weight > 0, "data.weight", source.weight, "above 0")
        for name in ("soft_targets", "auxiliary"):
            _demand(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        _demand(self.dropout is None or 0 <= self.dropout < 1, "dropout", self.dropout, "from 0 to below 1")
        kinds = ("auto", "float32", "bfloat16")
        _demand(self.precision in kinds, "precision", self.precision, "auto, float32 or bfloat16")
        how = self.optimiser
        _demand(how.name in ("adamw", "muon"), "optimiser.name", how.name, "adamw or muon")
        _demand(how.learning_rate > 0, "optimiser.learning_rate", how.learning_rate, "above 0")
        _demand(all(0 <= beta < 1 for beta in how.betas), "optimiser.betas", how.betas, "from 0 to below 1")
        for name in ("warmup", "clip", "weight_decay"):
            value = getattr(how, name)
            _demand(value >= 0, f"optimiser.{name}", value, "0 or more")
        _demand(0 < how.decay <= 1, "optimiser.decay", how.decay, "above 0 and at most 1")
        for name in ("every", "images"):
            value = getattr(self.evaluate, name)
            _demand(value >= 1, f"evaluate.{name}", value, "1 or more")
        for name in ("every", "keep"):
            value = getattr(self.checkpoints, name)
            _demand(value >= 1, f"checkpoints.{name}", value, "1 or more")


def read_training(file: Path) -> Training:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read ({error}): name a training's YAML file.") from None
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where else ""
        raise InputError(f"{file} is no YAML{line}: {getattr(error, 'problem', error)}.") from None
    try:
        return make(Training, values, "")
    except InputError as error:
        raise InputError(f"{file}: {error}") from None


Settings = TypeVar("Settings")


def make(kind: type[Settings], values: object, where: str) -> Settings:
    """A dataclass of settings from what YAML read; `where` is their place in the file."""
    if not isinstance(values, dict):
        raise InputError(f"{where or 'the file'} must be a list of `name: value`, and is {values!r}.")
    hints = get_type_hints(kind)
    known = {one.name: one for one in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f", did you mean {near[0]}?" if near else f": known are {', '.join(known)}."
            raise InputError(f"there is no setting {_place(where, name)}{hint}")
    for name, one in known.items():
        needed = one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
        if needed and name not in values:
            raise InputError(f"{_place(where, name)} is missing.")
    return kind(**{name: _value(hints[name], value, _place(where, name)) for name, value in values.items()})


def _value(hint: Any, value: object, where: str) -> Any:
    """A YAML value as the field's type."""
    options = [one for one in get_args(hint) if one is not type(None)]
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise InputError(f"{where} is {value!r}: a list is needed.")
        kinds = [options[0]] * len(value) if options[-1] is Ellipsis else options
        if len(kinds) != len(value):
            raise InputError(f"{where} is {value!r}: {len(kinds)} values are needed.")
        return tuple(_value(kind, one, where) for kind, one in zip(kinds, value, strict=True))
    if dataclasses.is_dataclass(hint):
        return make(hint, value, where)  # type: ignore[arg-type]
    if type(None) in get_args(hint):
        return None if value is None else _value(options[0], value, where)
    if get_origin(hint) is dict:
        good = isinstance(value, dict)
    elif hint is float:
        value = _number(value)
        good = isinstance(value, float) and math.isfinite(value)
    else:
        good = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    if not good:
        kind = {"int": "a whole number", "str": "text", "bool": "true or false", "float": "a number"}
        raise InputError(
            f"{where} is {value!r}: {kind.get(getattr(hint, '__name__', ''), 'a table')} is needed."
        )
    return value


def _number(value: object) -> object:
    """YAML reads 2e-4 as text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _place(where: str, name: object) -> str:
    return f"{where}.{name}" if where else str(name)


def _demand(good: bool, name: str, value: object, wanted: str) -> None:
    if not good:
        raise InputError(f"{name} is {value!r}: {wanted} is needed.")
