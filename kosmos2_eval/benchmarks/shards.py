"""One of several processes that share a benchmark, as `accelerate launch` starts them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from kosmos2_core.errors import InputError
from kosmos2_eval.benchmarks.question import Question

PATIENCE = timedelta(days=7)  # with the slowest of them


@dataclass(frozen=True)
class Shard:
    rank: int = 0
    world: int = 1
    local_rank: int = 0  # on its machine: which GPU is its own

    def own(self, questions: Sequence[Question]) -> list[Question]:
        """Its part: of every so many images one, with all questions about it, next to each other."""
        groups = {name: number for number, name in enumerate(dict.fromkeys(one.group for one in questions))}
        mine = (one for one in questions if groups[one.group] % self.world == self.rank)
        return sorted(mine, key=lambda one: groups[one.group])

    def wait(self) -> None:
        """Until all have come as far."""
        if self.world > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()


def world_size() -> int:
    """How many processes a launcher has started; one where there is none."""
    return int(os.environ.get("WORLD_SIZE", 1))


def this_shard() -> Shard:
    """What this process is among them."""
    if world_size() == 1:
        return Shard()
    try:
        from accelerate import PartialState
    except ImportError:
        raise InputError("several processes need accelerate: `pip install 'kosmos2[eval]'`.") from None
    # Nothing but waiting goes between them, so the CPU's backend serves, whatever runs the model.
    state = PartialState(cpu=True, timeout=PATIENCE)
    return Shard(state.process_index, state.num_processes, state.local_process_index)
