"""Compare the speed of the core with its competitors in one run, on the full-size model with random weights.

    python test/bench/core.py

writes docs/benchmarks.md and its chart; the raw results are in out/bench/. The competitors are
`transformers` in its fastest precision, the same with dynamically quantised linear layers, and the model
converted to OpenVINO with int8 and int4 weights. All load the same checkpoint.

They do not fit in memory together. So in each round every contender gets a process of its own, one after the
other: it starts, answers, does all tasks and ends. The rounds are repeated, so that other work on the machine
hits all alike, and the fastest run counts, because other work only slows down.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contenders import QUANTIZED
from floor import BYTES, floor_s, measure_limits
from page import write_page
from tasks import TASKS

from kosmos2_core.config import read_config
from kosmos2_core.quantized import choose_kernel
from kosmos2_core.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parents[2]
BENCH = Path(__file__).parent
FLOATS = ("bfloat16", "float32")
REFERENCE = "peer-float32"  # logits are compared with its
INSTRUCTIONS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_vnni": "VNNI", "avx_vnni": "VNNI"}
INSTRUCTIONS |= {"avx512_bf16": "bfloat16", "amx_bf16": "AMX", "asimd": "NEON", "bf16": "bfloat16"}
NO_OPENVINO = (
    "OpenVINO was left out, because it is not installed:"
    " `uv pip install -c constraints/common.txt openvino nncf` installs it into the active environment."
)


class Failed(Exception):
    """A process of the benchmark ended with an error."""


def main() -> None:
    arguments = parse_arguments()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    folder = arguments.folder or ROOT / "out/bench" / (
        f"layers-{arguments.layers}" if arguments.layers else "full"
    )
    folder.mkdir(parents=True, exist_ok=True)
    results_file = folder / "results.json"
    if not arguments.page_only:
        results = measure(folder, device, arguments)
        results_file.write_text(json.dumps(results, indent=1))
    results = json.loads(results_file.read_text())
    write_page(results, folder if arguments.layers else ROOT / "docs")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--layers", type=int, help="smaller model: blocks of each tower; no page in docs/")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender is started")
    parser.add_argument("--runs", type=int, default=2, help="how often it does each task in a round")
    parser.add_argument("--only", help="names of contenders, separated by commas, such as ours-int8")
    parser.add_argument("--folder", type=Path, help="folder for the checkpoint and the results")
    parser.add_argument("--page-only", action="store_true", help="write the page of the last results again")
    return parser.parse_args()


def measure(folder: Path, device: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure all contenders and the floor."""
    results: dict[str, Any] = {"machine": machine(device), "versions": versions(), "notes": []}
    results |= {"rounds": arguments.rounds, "runs": arguments.runs, "layers": arguments.layers}
    make_checkpoint(folder, arguments.layers)
    if arguments.only:
        names = arguments.only.split(",")
        if "ours-int8" in names:
            quantized_names(folder, results["notes"])
        if any(name.startswith("openvino") for name in names):
            openvino_names(folder, results["notes"])
    else:
        names = choose_contenders(folder, device, results)
    results["contenders"] = run_rounds(names, folder, device, arguments, results["notes"])
    compare_logits(results, folder, device)
    limits = measure_limits(device)
    config, tokenizer = read_config(folder / "config.json"), Tokenizer.load(folder)
    results["limits"] = asdict(limits)
    results["floors"] = {
        task.title: {
            precision: floor_s(task, config, tokenizer, limits, precision)
            for precision in BYTES
            if precision in limits.operations_per_s
        }
        for task in TASKS
    }
    return results


def make_checkpoint(folder: Path, layers: int | None) -> None:
    """Write the checkpoint, if there is none of an earlier run."""
    if not (folder / "processor_config.json").exists():  # written last
        say(f"writing a checkpoint with random weights to {folder}")
        run_script("checkpoint.py", str(folder), *(["--layers", str(layers)] if layers else []))


# The contenders.


def choose_contenders(folder: Path, device: str, results: dict[str, Any]) -> list[str]:
    """Return the names of the contenders that this machine can run, floats in their fastest precision."""
    if device != "cpu":
        return ["ours-bfloat16", "peer-bfloat16"]
    results["precisions"] = {}
    names = []
    for family in ("ours", "peer"):
        times = {}
        for dtype in FLOATS:
            say(f"choosing the precision: {family} in {dtype}")
            first = run_contender(f"{family}-{dtype}", folder, device, 2, "--first-only")
            times[dtype] = min(first["tasks"][TASKS[0].title])
        results["precisions"][family] = times
        names += [f"{family}-{min(times, key=times.__getitem__)}"]
    quantized = quantized_names(folder, results["notes"])
    return [names[0], *quantized, names[1], "peer-int8", *openvino_names(folder, results["notes"])]


def quantized_names(folder: Path, notes: list[str]) -> list[str]:
    """Write the quantised checkpoint, and return the names of the contenders that use it."""
    if choose_kernel() is None:
        notes.append("Int8 weights were left out: this package has no integer kernel for this processor.")
        return []
    if not (folder / QUANTIZED).exists():
        say("quantising the checkpoint")
        run_script("checkpoint.py", str(folder), "--quantize")
    return ["ours-int8"]


def openvino_names(folder: Path, notes: list[str]) -> list[str]:
    """Convert the checkpoint, if OpenVINO is installed, and return the names of its contenders."""
    if not all(importlib.util.find_spec(package) for package in ("openvino", "nncf")):
        notes.append(NO_OPENVINO)
        say(NO_OPENVINO)
        return []
    names = ["openvino-int8", "openvino-int4"]
    if not all((folder / name / "shape.json").exists() for name in names):
        say("converting the checkpoint to OpenVINO")
        try:
            run_script("openvino_parts.py", str(folder))
        except Failed as error:
            notes.append(f"OpenVINO was left out, because the conversion failed: {error}.")
            say(notes[-1])
            return []
    return names


def run_rounds(
    names: list[str], folder: Path, device: str, arguments: argparse.Namespace, notes: list[str]
) -> dict[str, dict[str, Any]]:
    """Let the contenders take turns, and return the results of each over all rounds."""
    contenders: dict[str, dict[str, Any]] = {}
    failed = set()
    for number in range(arguments.rounds):
        for name in names:
            if name in failed:
                continue
            say(f"round {number + 1} of {arguments.rounds}: {name}")
            try:
                result = run_contender(name, folder, device, arguments.runs)
            except Failed as error:
                if name.startswith("ours"):
                    raise
                failed.add(name)
                notes.append(f"{name} was left out, because it failed: {error}.")
                say(notes[-1])
                contenders.pop(name, None)
                continue
            add_result(contenders.setdefault(name, {}), result)
    return contenders


def add_result(total: dict[str, Any], result: dict[str, Any]) -> None:
    """Add the result of a round to those of earlier rounds: lists of figures, and the last logits."""
    for key, value in result.items():
        if key == "tasks":
            for title, times in value.items():
                total.setdefault("tasks", {}).setdefault(title, []).extend(times)
        elif key == "logits":
            total[key] = value
        else:
            total.setdefault(key, []).append(value)


def compare_logits(results: dict[str, Any], folder: Path, device: str) -> None:
    """Replace the logits of each contender by their correlation with those of the reference."""
    contenders = results["contenders"]
    measured = contenders.get(REFERENCE) or run_contender(REFERENCE, folder, device, 1, "--first-only")
    reference = measured["logits"]
    for contender in contenders.values():
        contender["correlation"] = float(np.corrcoef(reference, contender.pop("logits"))[0, 1])


def run_contender(name: str, folder: Path, device: str, runs: int, *options: str) -> dict[str, Any]:
    """Run a contender in a process of its own and return its result."""
    result = folder / f"{name}.json"
    result.unlink(missing_ok=True)
    run_script(
        "contenders.py",
        *(name, str(folder), str(result), "--device", device, "--runs", str(runs)),
        *("--started", str(time.monotonic()), *options),
    )
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def run_script(script: str, *arguments: str) -> None:
    """Run a script of this folder.

    Raises:
        Failed: The script failed, or was killed because the memory was full.
    """
    environ = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "CI": "true",  # OpenVINO's converter sends no usage data then
    }
    command = [sys.executable, str(BENCH / script), *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise Failed(f"{script} ended with {done.returncode} ({lines[-1]})")


# The machine.


def machine(device: str) -> dict[str, Any]:
    cpuinfo = Path("/proc/cpuinfo").read_text()
    name = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:(.+)$", cpuinfo, re.MULTILINE)
    known = [INSTRUCTIONS[flag] for flag in INSTRUCTIONS if flags and flag in flags[1].split()]
    return {
        "name": torch.cuda.get_device_name() if device != "cpu" else name[1] if name else platform.machine(),
        "device": device,
        "threads": torch.get_num_threads(),
        "instructions": list(dict.fromkeys(known)),
        "load": os.getloadavg()[0],
        "memory_gib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
    }


def versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for package in ("torch", "transformers", "openvino", "nncf"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, flush=True)


if __name__ == "__main__":
    main()
