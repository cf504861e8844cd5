"""Command-line options of a program beside the options of ROS, which follow --ros-args."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from rclpy.utilities import remove_ros_args

from kosmos2_core.errors import InputError
from kosmos2_ros.process import check_parameter_files, wrong_arguments

ROS_EPILOG = "Options of ROS follow --ros-args."


class RosArgumentParser(argparse.ArgumentParser):
    """Reports wrong usage in one sentence, with exit status 2."""

    def error(self, message: str) -> NoReturn:
        """Print a sentence and exit."""
        print(f"{self.prog}: {message}; --help shows the options.", file=sys.stderr)
        raise SystemExit(2)

    def parse_without_ros(self, args: Sequence[str] | None) -> argparse.Namespace:
        """Parse the arguments that are not for ROS; None: those of sys.argv."""
        words = sys.argv[1:] if args is None else list(args)
        try:
            check_parameter_files(words)
            without_ros = remove_ros_args([self.prog, *words])[1:]
        except InputError as error:
            self.exit(2, f"{self.prog}: {error}\n")
        except RuntimeError as error:  # rclpy has no public class for wrong arguments
            self.exit(2, f"{self.prog}: {wrong_arguments(error, words)}\n")
        return self.parse_args(without_ros)
