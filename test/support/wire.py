"""Names of interface types, and a quality of service that waits for nobody."""

import importlib
from pathlib import Path
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile

# Kept for whoever comes later, so that no test has to wait for discovery before it publishes.
KEPT = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def load(name: str) -> Any:
    """The class of an interface: `kosmos2/msg/Box` and the like."""
    package, kind, interface = name.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), interface)


def names_in(package: Path) -> list[str]:
    """All interfaces a package's folder defines."""
    files = [file for kind in ("msg", "srv", "action") for file in sorted(package.glob(f"{kind}/*.{kind}"))]
    name = "kosmos2" if (package / "kosmos2_core").exists() else package.name
    return [f"{name}/{file.parent.name}/{file.stem}" for file in files]
