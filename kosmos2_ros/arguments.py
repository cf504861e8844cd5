"""A process's own options, beside ROS's, which stand after --ros-args."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from rclpy.utilities import remove_ros_args


class Parser(argparse.ArgumentParser):
    """Says bad usage in one sentence, as any other bad input."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; --help shows how.", file=sys.stderr)
        raise SystemExit(2)

    def parsed(self, args: Sequence[str] | None) -> argparse.Namespace:
        words = sys.argv[1:] if args is None else list(args)
        return self.parse_args(remove_ros_args([self.prog, *words])[1:])
