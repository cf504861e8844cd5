"""The node in a process of its own, its model only sleeps. Says where it is: loading, active, running.

python node_process.py LOAD_S RUN_S --ros-args ...
"""

import sys
import time

from stand_in import InParts, answer

from kosmos2_ros.apps.grounding import autostart
from kosmos2_ros.node import GroundingNode
from kosmos2_ros.process import run

LOAD_S, RUN_S = map(float, sys.argv[1:3])


class Sleeper(InParts):
    """Warmed up at once; then it takes its time."""

    warm = False

    def run(self, jobs, decoding=None):
        if self.warm:
            print("running", flush=True)
            time.sleep(RUN_S)
        self.warm = True
        return [answer("the mug") for _ in jobs]


def load(parameters):
    print("loading", flush=True)
    time.sleep(LOAD_S)
    return Sleeper()


def start(node):
    autostart(node)
    print("active", flush=True)


run("grounding", lambda: GroundingNode(load), start, sys.argv[3:])
