"""A training as a user runs it: finished, killed, stopped and resumed."""

import math
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Kosmos2ForConditionalGeneration, Kosmos2Processor

from kosmos2_core.checkpoint import load_model
from kosmos2_core.config import read_config
from kosmos2_core.engine import Engine
from kosmos2_core.errors import InputError, ModelError
from kosmos2_core.images import load_image
from kosmos2_core.requests import Caption, Locate
from kosmos2_training.run_folder import read_lines
from kosmos2_training.session import TrainingSession, run_training
from kosmos2_training.trainer import Trainer


@pytest.fixture(scope="module")
def finished(module_place, small_settings):
    """A training that ran to its end."""
    model = run_training(small_settings(), module_place, "cpu")
    return module_place / "run", model


def curve(run):
    return [(line["step"], line["answers"], line["auxiliary"]) for line in read_lines(run / "log.csv")]


def command(place, *, kill_at=None):
    """`kosmos2 train` in a process of its own; kill_at: which kills itself in that step."""
    code = (
        "import os, signal, sys\n"
        "from kosmos2_cli.main import main\n"
        "from kosmos2_training.trainer import Trainer\n"
        "plain, at = Trainer.train_step, int(sys.argv[1])\n"
        "def step(self, batch):\n"
        "    outcome = plain(self, batch)\n"
        "    if self.step == at:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return outcome\n"
        "Trainer.train_step = step\n"
        "sys.exit(main(['train', 'training.yaml', '--device', 'cpu']))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, str(kill_at or 0)],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_training_leaves_a_model_a_curve_and_pictures(finished):
    run, model = finished
    assert model == run / "best"
    for name in ("curve.png", "pictures.png"):
        with Image.open(run / name) as picture:
            assert min(picture.size) > 200
    assert [line["step"] for line in read_lines(run / "log.csv")] == [str(step) for step in range(1, 7)]
    assert [line["step"] for line in read_lines(run / "scores.csv")] == ["3", "6"]
    assert list((run / "tensorboard").iterdir())
    assert sorted(path.name for path in run.glob("step-*")) == ["step-0000004", "step-0000006"]
    card = (model / "README.md").read_text()
    assert "adamw" in card
    assert "located correctly" in card


def test_an_engine_loads_the_trained_model(finished, module_place):
    engine = Engine.load(finished[1], device="cpu")
    view = engine.look(load_image(module_place / "data" / "images" / "0.png"))
    located, said = view.run(Locate("the red disc"), Caption())
    assert 0 <= located.phrases[0].presence <= 1
    assert isinstance(said.text, str)


@torch.no_grad()
def test_the_peer_loads_it_and_computes_the_same(finished, module_place):
    _, folder = finished
    peer = Kosmos2ForConditionalGeneration.from_pretrained(folder).eval()
    processor = Kosmos2Processor.from_pretrained(folder)
    inputs = processor(
        text="<grounding> the red disc",
        images=Image.open(module_place / "data" / "images" / "0.png").convert("RGB"),
        num_image_tokens=16,
        return_tensors="pt",
    )
    theirs = peer(**inputs).logits[0, -1]
    model = load_model(folder)
    slots = inputs["image_embeds_position_mask"].bool()
    ours = model(inputs["input_ids"], model.encode(inputs["pixel_values"]), slots)[0, -1]
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_a_killed_training_resumes_exactly(place, write_small, finished):
    write_small(place)
    assert command(place, kill_at=5).returncode == -signal.SIGKILL
    assert (place / "run" / "step-0000004").exists()
    done = command(place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(place / "run" / "best")
    assert curve(place / "run") == curve(finished[0])
    weights, expected = load_model(place / "run" / "final"), load_model(finished[0] / "final")
    for weight, expected_weight in zip(weights.parameters(), expected.parameters(), strict=True):
        assert torch.equal(weight, expected_weight)


def test_a_signal_saves_and_the_message_says_how_to_resume(place, small_settings):
    session_step = 2
    training = small_settings(checkpoints={"every": 100, "keep": 2})
    learn = TrainingSession.train_step

    def train_and_tell(self, step):
        learn(self, step)
        if self.trainer.step == session_step:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingSession, "train_step", train_and_tell)
        with pytest.raises(InputError, match="stopped and saved after step 2"):
            run_training(training, place, "cpu")
    run_training(training, place, "cpu")
    assert len(curve(place / "run")) == 6


def test_a_finished_training_is_not_repeated(finished, module_place, small_settings):
    before = curve(finished[0])
    assert run_training(small_settings(), module_place, "cpu") == finished[1]
    assert curve(finished[0]) == before


def test_accumulated_parts_learn_what_one_batch_learns(place, small_settings):
    changes = {"steps": 2, "augment": False, "auxiliary": 0.0, "dropout": 0.0, "evaluate": {}}
    run_training(small_settings(run="whole", **changes), place, "cpu")
    run_training(small_settings(run="parts", accumulate=2, **changes), place, "cpu")
    whole, parts = (
        [float(line["answers"]) for line in read_lines(place / run / "log.csv")] for run in ("whole", "parts")
    )
    assert parts == pytest.approx(whole, rel=1e-4)


def test_in_bfloat16_the_weights_stay_precise(place, small_settings):
    changes = {"precision": "bfloat16", "evaluate": {}, "steps": 2, "dropout": 0.0, "augment": False}
    session = TrainingSession(small_settings(**changes), place, "cpu")
    for step in session.trainer.data.from_step(0):
        session.train_step(step)
    assert all(p.dtype == torch.float32 for p in session.trainer.model.parameters())
    losses = [float(line["answers"]) for line in read_lines(place / "run" / "log.csv")]
    assert losses[1] < losses[0]


def test_it_goes_on_from_a_checkpoint_with_parts_frozen(finished, place, small_settings):
    start = load_model(finished[1])
    changes = {"start": str(finished[1]), "freeze": ["vision", "connector"], "steps": 2}
    learnt = load_model(run_training(small_settings(**changes), place, "cpu").parent / "final")
    before, after = dict(start.named_parameters()), dict(learnt.named_parameters())
    for name in before:
        same = torch.equal(before[name], after[name])
        assert same == name.startswith(("vision", "connector")), name


def test_it_learns(place, small_settings):
    """A few images by heart: the loss of the answers falls by half."""
    changes = {"steps": 60, "augment": False, "dropout": 0.0, "evaluate": {}, "checkpoints": {"every": 60}}
    how = {"name": "muon", "learning_rate": 5e-3, "warmup": 5}
    run_training(small_settings(optimiser=how, **changes), place, "cpu")
    losses = [float(answers) for _, answers, _ in curve(place / "run")]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_bad_records_are_passed_over_and_counted(place, small_settings):
    with (place / "data" / "records.jsonl").open("a") as stream:
        stream.write('{"image": "images/none.png", "items": []}\nnot JSON\n')
    session = TrainingSession(small_settings(evaluate={}, steps=5), place, "cpu")
    for step in session.trainer.data.from_step(0):
        session.train_step(step)
    assert (
        session.trainer.skipped == 6
    )  # 20 samples of 10 records, in each round 2 + 1: after the bad one comes a bad one


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"data": [{"path": "none"}]}, "none"),
        ({"start": "none/model"}, "none/model"),
        ({"freeze": ["visual"]}, "freeze names visual"),
        ({"freeze": ["vision", "connector", "decoder"]}, "nothing is left"),
        ({"evaluate": {"data": "none"}}, "none"),
        ({"tokens": 18}, "tokens is 18"),
    ],
)
def test_settings_that_cannot_be_trained_get_one_sentence(place, small_settings, changes, says):
    with pytest.raises((InputError, ModelError), match=says) as error:
        run_training(small_settings(**changes), place, "cpu")
    assert "\n" not in str(error.value)


def test_a_diverged_loss_names_step_records_and_what_to_do(place, small_settings):
    wild = {"learning_rate": 1e30, "warmup": 0}
    with pytest.raises(InputError) as error:
        run_training(small_settings(optimiser=wild, evaluate={}, steps=4), place, "cpu")
    said = str(error.value)
    assert re.search(r"became NaN or infinite in step 2, on line \d of .*records\.jsonl, line \d", said)
    assert said.endswith("lower optimiser.learning_rate or optimiser.clip, and rerun the command.")
    run_training(small_settings(evaluate={}, steps=4), place, "cpu")  # as the sentence says
    assert len(curve(place / "run")) == 4


def test_a_checkpoint_with_broken_weights_is_named_and_without_it_the_training_goes_on(place, small_settings):
    wild, often = {"learning_rate": 1e30, "warmup": 0}, {"every": 1, "keep": 3}
    run_training(small_settings(evaluate={}, steps=2, checkpoints=often), place, "cpu")
    with pytest.raises(InputError) as error:
        run_training(small_settings(optimiser=wild, evaluate={}, checkpoints=often), place, "cpu")
    broken = place / "run/step-0000003"
    assert "in step 4, on line" in str(error.value)
    assert f"remove {broken}, whose weights are broken, and rerun the command." in str(error.value)
    with pytest.raises(InputError, match=f"remove {broken}"):  # other settings alone do not help
        run_training(small_settings(evaluate={}, checkpoints=often), place, "cpu")
    shutil.rmtree(broken)
    run_training(small_settings(evaluate={}, checkpoints=often), place, "cpu")
    assert [step for step, *_ in curve(place / "run")] == [str(step) for step in range(1, 7)]


def test_a_step_with_a_record_that_makes_the_loss_nan_can_be_skipped(place, small_settings):
    """A picture that the vision tower turns into NaN, as a defect in a kernel does for some inputs."""

    def settings_skipping(steps):
        return small_settings(evaluate={}, augment=False, steps=3, skip_steps=steps)

    data = TrainingSession(settings_skipping([]), place, "cpu").trainer.data
    poisoned = next(data.samples_of(2))[2].pixels
    broken = [
        number
        for number in (1, 2, 3)
        if any(np.array_equal(sample.pixels, poisoned) for *_, sample in data.samples_of(number - 1))
    ]
    shutil.rmtree(place / "run")
    plain = Trainer._forward

    def forward(self, batch):
        features, tokens, logits = plain(self, batch)
        same = (batch.pixels == torch.as_tensor(poisoned)).flatten(1).all(1)
        return features, tokens, logits * (math.nan if bool(same.any()) else 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_forward", forward)
        for index, number in enumerate(broken):
            words = r"in step (\d), on line \d of \S+: add \1 to the setting skip_steps, and rerun"
            with pytest.raises(InputError, match=words) as error:
                run_training(settings_skipping(broken[:index]), place, "cpu")
            assert f"in step {number}," in str(error.value)
        run_training(settings_skipping(broken), place, "cpu")
    assert [int(step) for step, *_ in curve(place / "run")] == sorted({1, 2, 3} - set(broken))


def test_weights_that_are_not_finite_are_not_saved(place, small_settings):
    session = TrainingSession(small_settings(evaluate={}), place, "cpu")
    session.trainer.step = 1
    with torch.no_grad():
        next(session.trainer.model.parameters()).fill_(math.inf)
    with pytest.raises(InputError, match="a weight became NaN or infinite in step 1"):
        session.trainer.save()
    assert not list((place / "run").glob("*step-*"))


def test_the_shape_is_the_settings(finished):
    config = read_config(Path(finished[1]) / "config.json")
    assert (config.vision_config.hidden_size, config.text_config.layers) == (32, 2)
