"""Answers to service calls that rclpy's own callbacks would leave without one.

rclpy makes services for a node's parameters and for its states. If the callback of such a service raises an
exception, rclpy sends no response, and the caller waits for ever. The callbacks raise one for a transition
that the state does not allow, and for a parameter value of unknown type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.parameter import Parameter

from kosmos2_core.errors import Kosmos2Error
from kosmos2_ros.errors import log_error

KNOWN_TYPES = frozenset(kind.value for kind in Parameter.Type)
Callback = Callable[[Any, Any], Any]  # request, empty response -> response


def answer_always(node: Any) -> None:
    """Make the services that a lifecycle node has so far answer each request.

    Call it first in the node's constructor, when rclpy's services are the only ones.
    """
    for service in node.services:
        guard = _ANSWERS.get(service.srv_type, _answer_empty)
        service.callback = guard(service.callback, service.srv_type, node)


def _answer_empty(callback: Callback, service_type: Any, node: Any) -> Callback:
    """Return a callback whose exceptions become an empty response."""

    def answer(request: Any, response: Any) -> Any:
        try:
            return callback(request, response)
        except Exception as error:  # the edge of the node
            log_error(node.get_logger(), error)
            return service_type.Response()

    return answer


def _answer_change_state(callback: Callback, service_type: Any, node: Any) -> Callback:
    def answer(request: Any, response: Any) -> Any:
        try:
            return callback(request, response)
        except RuntimeError:  # rclpy has no public class for a transition that is not possible
            transition = request.transition.label or request.transition.id
            node.get_logger().warning(
                f"the transition {transition} is not possible in the state {_state(node)}"
            )
            return ChangeState.Response(success=False)

    return answer


def _answer_set(callback: Callback, service_type: Any, node: Any) -> Callback:
    """Return a callback that sets each parameter by itself: if it fails, the others still have results."""

    def answer(request: Any, response: Any) -> Any:
        for parameter in request.parameters:
            single = SetParameters.Request(parameters=[parameter])
            try:
                response.results.extend(callback(single, SetParameters.Response()).results)
            except Exception as error:  # the edge of the node
                response.results.append(_refusal(single, error, node))
        return response

    return answer


def _answer_set_atomically(callback: Callback, service_type: Any, node: Any) -> Callback:
    def answer(request: Any, response: Any) -> Any:
        try:
            return callback(request, response)
        except Exception as error:  # the edge of the node
            return SetParametersAtomically.Response(result=_refusal(request, error, node))

    return answer


_ANSWERS = {
    ChangeState: _answer_change_state,
    SetParameters: _answer_set,
    SetParametersAtomically: _answer_set_atomically,
}


def _refusal(request: Any, error: Exception, node: Any) -> SetParametersResult:
    """Return the result of a request whose parameters cannot be set."""
    for parameter in request.parameters:
        if parameter.value.type not in KNOWN_TYPES:
            reason = f"{parameter.name} has a value of the unknown type {parameter.value.type}."
            return SetParametersResult(successful=False, reason=reason)
    log_error(node.get_logger(), error)
    known = isinstance(error, Kosmos2Error)
    reason = str(error) if known else f"setting it failed ({type(error).__name__}): see the node's log."
    return SetParametersResult(successful=False, reason=reason)


def _state(node: Any) -> str:
    """Return the label of a lifecycle node's state, which rclpy has in a private attribute only."""
    return str(node._state_machine.current_state[1])
