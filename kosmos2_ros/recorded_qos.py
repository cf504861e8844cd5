"""The QoS with which a topic is sent again: what its publishers offered when it was recorded."""

from __future__ import annotations

from typing import Final

import yaml
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from kosmos2_io.bag_reader import Topic

DEPTH: Final = 10
MOST_LATCHED: Final = 1000
# As rosbag2 writes them: by number before version 9 of its metadata, since then by name.
BEST_EFFORT, TRANSIENT_LOCAL = ("2", "best_effort"), ("1", "transient_local")


def as_recorded(topic: Topic) -> QoSProfile:
    """Where publishers differed, what suits the subscribers of each. Latched: all that were sent are kept."""
    offered = _offered(topic.qos)
    fast = offered and all(one.get("reliability") in BEST_EFFORT for one in offered)
    latched = any(one.get("durability") in TRANSIENT_LOCAL for one in offered)
    return QoSProfile(
        depth=min(max(topic.count, 1), MOST_LATCHED) if latched else DEPTH,
        reliability=ReliabilityPolicy.BEST_EFFORT if fast else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def _offered(text: str) -> list[dict[str, str]]:
    try:
        profiles = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return []
    return [one for one in profiles if isinstance(one, dict)] if isinstance(profiles, list) else []
