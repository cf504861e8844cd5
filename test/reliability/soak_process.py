"""The node in a process of its own, for hours. Says when it is active.

    python soak_process.py stub|faults|real --ros-args ...

stub: a model that answers at once; faults: the given model, of which every hundredth inference fails;
real: the node as `kosmos2 node` starts it.
"""

import sys

import torch
from stand_in import InParts, answer

from kosmos2_ros.apps.grounding import autostart
from kosmos2_ros.node import GroundingNode, load_engine
from kosmos2_ros.process import run

FAULT_PERIOD = 100  # inferences
FAULTS = (RuntimeError, torch.OutOfMemoryError, MemoryError)


class InstantModel(InParts):
    """Finds the mug."""

    def run(self, jobs, decoding=None):
        return [answer("the mug") for _ in jobs]


def load_with_faults(parameters):
    engine = load_engine(parameters)
    locate_in_parts, inferences = engine.locate_in_parts, 0

    def locate_or_fail(jobs):
        nonlocal inferences
        inferences += 1
        if inferences % FAULT_PERIOD == 0:
            raise FAULTS[inferences // FAULT_PERIOD % len(FAULTS)]("a fault on purpose")
        return (yield from locate_in_parts(jobs))

    engine.locate_in_parts = locate_or_fail
    return engine


def start(node):
    autostart(node)
    print("active", flush=True)


LOADERS = {"stub": lambda parameters: InstantModel(), "faults": load_with_faults, "real": load_engine}

run("grounding", lambda: GroundingNode(LOADERS[sys.argv[1]]), start, sys.argv[2:])
