"""The other end of the wire: sends back what it gets, in a process of its own.

Messages return as they came. Services and actions answer with an example of their own whose field
`message` holds, as JSON, the request that arrived.
"""

import json
import sys
import threading
from contextlib import suppress
from functools import partial

import rclpy
from example_messages import example, plain
from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from wire import KEPT, load

STREAM_PACE = threading.Event()  # never set


def serve(request, response, service):
    filled = example(service.Response)
    filled.message = json.dumps(plain(request))
    return filled


def execute(goal, action):
    """Streams feedback until it is cancelled: feedback sent before discovery is done is lost."""
    while not goal.is_cancel_requested:
        goal.publish_feedback(example(action.Feedback))
        STREAM_PACE.wait(0.02)
    goal.canceled()
    result = example(action.Result)
    result.message = json.dumps(plain(goal.request))
    return result


def main() -> None:
    rclpy.init()
    node = rclpy.create_node("echo")
    for name in sys.argv[1:]:
        interface = load(name)
        if "/msg/" in name:
            back = node.create_publisher(interface, f"/back/{name}", KEPT)
            node.create_subscription(interface, f"/there/{name}", back.publish, KEPT)
        elif "/srv/" in name:
            node.create_service(interface, f"/{name}", partial(serve, service=interface))
        else:
            ActionServer(
                *(node, interface, f"/{name}", partial(execute, action=interface)),
                callback_group=ReentrantCallbackGroup(),
                cancel_callback=lambda goal: CancelResponse.ACCEPT,
            )
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node, MultiThreadedExecutor(2))


main()
