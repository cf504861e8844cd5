"""Runs a training that kills itself (`kill -9`) when it touches a file for the Nth time, for several N.

    python training_process.py FOLDER N ...

FOLDER has training.yaml, the data and `run` with a checkpoint. Each training runs on a copy of it in a forked
process, which saves the time of all imports. Prints a line for each: N, how it ended, and the step of the
model in best/ as its model card says it, after the model was loaded. N of 0: is not killed, and prints how
often it touched a file.
"""

import os
import re
import shutil
import signal
import sys
from pathlib import Path

from kosmos2_cli.main import main
from kosmos2_core.checkpoint import load_model
from kosmos2_core.tokenizer import Tokenizer
from kosmos2_training import run_folder
from kosmos2_training.session import TrainingSession

EVENTS = ("open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.copyfile", "shutil.rmtree")


class Killer:
    """Counts when files of models and checkpoints are touched, and kills the process at the Nth time."""

    def __init__(self, number: int) -> None:
        self.number, self.count = number, 0

    def touch(self) -> None:
        self.count += 1
        if self.count == self.number:
            os.kill(os.getpid(), signal.SIGKILL)

    def __call__(self, event: str, arguments: tuple) -> None:
        if event in EVENTS and re.search(r"run/\.?(best|final|step-)", str(arguments[0])):
            self.touch()


def evaluate_better(session: TrainingSession) -> None:
    """Make each evaluation better than the one before, so that best/ is written each time."""
    trainer = session.trainer
    trainer.best = trainer.step / 100
    session._write_model(trainer.run / "best", {})


def train(folder: Path, number: int) -> None:
    killer, exchange = Killer(number), run_folder._exchange
    TrainingSession.evaluate = evaluate_better

    def exchange_and_count(first: Path, second: Path) -> bool:
        killer.touch()
        done = exchange(first, second)
        killer.touch()
        return done

    run_folder._exchange = exchange_and_count
    if os.environ.get("WITHOUT_EXCHANGE"):
        run_folder._exchange = lambda first, second: False
    sys.addaudithook(killer)
    os.chdir(folder)
    status = main(["train", "training.yaml", "--device", "cpu"])
    if not number:
        print(f"touched {killer.count}", flush=True)
    os._exit(status)


def best_step(folder: Path) -> str:
    best = folder / "run/best"
    load_model(best)
    Tokenizer.load(best)
    return re.search(r"for (\d+) steps", (best / "README.md").read_text())[1]


def run(folder: Path, number: int) -> None:
    copy = folder.with_name(f"{folder.name} {number}")
    shutil.copytree(folder, copy)
    child = os.fork()
    if not child:
        train(copy, number)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if os.environ.get("WITHOUT_EXCHANGE"):
        run_folder.check_run(copy / "run")  # as the next training does
    try:
        step = best_step(copy)
    except Exception as error:  # what the test is about
        step = f"{type(error).__name__}: {error}"
    print(f"{number} {code} {step}", flush=True)
    shutil.rmtree(copy)


for word in sys.argv[2:]:
    run(Path(sys.argv[1]).absolute(), int(word))
