"""`kosmos2 say`: sends a command to a running node and waits for its first result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from std_msgs.msg import String

from kosmos2_core.errors import InputError
from kosmos2_core.requests import Locate
from kosmos2_ros.apps.results import ResultReader, open_reader

ACCEPT_S = 2.0  # a running node takes a command at once
DIAGNOSTICS_S = 2.0  # the node reports its state twice a second


def say(text: str, target: str, timeout_s: float) -> str:
    """Send a command to a node and return the command id of its first result.

    Args:
        text: the command, as the node's topic `command` takes it.
        target: name of the node, such as `/grounding`.
        timeout_s: how long to wait for the node, and then for the result.

    Raises:
        InputError: no node listens, it refuses the command, or there is no result; the message says why.
    """
    with open_reader("say", target) as reader:
        sender = CommandSender(reader)
        sender.send(text, timeout_s)
        located = Locate(text).grounded().text  # results have the text without marks
        result = reader.first(lambda result: result.frame.text == located, timeout_s)
        if result:
            return str(result.frame.command_id)
        reason = sender.diagnosis()
    raise InputError(
        f"{reader.target} took the command, but gave no result within {timeout_s:g} s ({reason})."
    )


class CommandSender:
    """Sends commands to the node whose results a reader reads."""

    def __init__(self, reader: ResultReader) -> None:
        self._reader = reader
        self._publisher = reader.node.create_publisher(String, f"{reader.target}/command", 1)
        self._parameters = AsyncParameterClient(reader.node, reader.target)
        self._statuses: dict[str, DiagnosticStatus] = {}
        reader.node.create_subscription(DiagnosticArray, "/diagnostics", self._store_statuses, 10)

    def send(self, text: str, timeout_s: float) -> None:
        """Publish the command and wait until it is the node's current command.

        Raises:
            InputError: no node listens, or it refuses the command.
        """
        target = self._reader.target
        if not self._reader.wait_for(self._is_connected, timeout_s):
            raise InputError(
                f"no node listens on {target}/command: start it with `kosmos2 node`, give its name with"
                " --node, or check that ROS_DOMAIN_ID is the same there."
            )
        self._publisher.publish(String(data=text))
        if self._is_current(text):
            return
        # The topic has no answer. Setting the parameter to the same text says why the node refuses it.
        [outcome] = self._wait_for_future(
            self._parameters.set_parameters([Parameter("command", value=text)])
        ).results
        if not outcome.successful:
            raise InputError(f"{target} refuses the command: {outcome.reason}")

    def _is_connected(self) -> bool:
        return bool(self._publisher.get_subscription_count()) and bool(self._parameters.services_are_ready())

    def _is_current(self, text: str) -> bool:
        """Return whether the node's parameter `command` becomes this text within ACCEPT_S."""

        def asked() -> bool:
            [value] = self._wait_for_future(self._parameters.get_parameters(["command"])).values
            return bool(value.string_value == text)

        return self._reader.wait_for(asked, ACCEPT_S)

    def _wait_for_future(self, future: Any) -> Any:
        if not self._reader.wait_for(future.done, ACCEPT_S):
            raise InputError(f"{self._reader.target} does not answer: check whether it still runs.")
        return future.result()

    def _store_statuses(self, message: DiagnosticArray) -> None:
        prefix = f"{self._reader.target}: "
        self._statuses |= {
            status.name.removeprefix(prefix): status
            for status in message.status
            if status.name.startswith(prefix)
        }

    def diagnosis(self) -> str:
        """Return what the node's diagnostics say, problems first."""
        self._statuses.clear()
        self._reader.wait_for(lambda: bool(self._statuses), DIAGNOSTICS_S)
        return describe_statuses(list(self._statuses.items()))


def describe_statuses(statuses: Sequence[tuple[str, DiagnosticStatus]]) -> str:
    """Return the messages of the parts that are not well, or of all parts if all are well."""
    problems = [(name, status) for name, status in statuses if status.level != DiagnosticStatus.OK]
    shown = [f"{name}: {status.message}" for name, status in problems or statuses]
    return "; ".join(shown).rstrip(".") or "it publishes no diagnostics"
