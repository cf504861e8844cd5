"""rclpy's own callbacks: each call gets its answer, and a strange message ends nothing."""

import re

import pytest

rclpy = pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from builtin_interfaces.msg import Time  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from rcl_interfaces.msg import Parameter as ParameterMessage  # noqa: E402
from rcl_interfaces.msg import ParameterValue  # noqa: E402
from rcl_interfaces.srv import SetParameters, SetParametersAtomically  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from robot import PATIENCE_S  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402

from kosmos2_ros.errors import Code  # noqa: E402

STRANGE = ParameterMessage(name="max_boxes", value=ParameterValue(type=77))


@pytest.fixture
def call(robot):
    """Call a service of the node and return its response."""

    def call(kind, name, **fields):
        client = robot.node.create_client(kind, f"/grounding/{name}")
        assert client.wait_for_service(PATIENCE_S)
        return robot.result(client.call_async(kind.Request(**fields)))

    return call


@pytest.mark.parametrize(
    "transition",
    [
        Transition(id=Transition.TRANSITION_ACTIVATE),
        Transition(id=Transition.TRANSITION_CONFIGURE),
        Transition(id=200),
        Transition(label="activate"),
        Transition(label="no_such"),
    ],
    ids=lambda transition: transition.label or str(transition.id),
)
def test_a_transition_that_is_not_possible_is_answered(serve, call, transition):
    serve()
    assert not call(ChangeState, "change_state", transition=transition).success
    deactivate = Transition(id=Transition.TRANSITION_DEACTIVATE)
    assert call(ChangeState, "change_state", transition=deactivate).success


def test_the_log_says_which_transition_was_not_possible(serve, call, capfd):
    serve()
    call(ChangeState, "change_state", transition=Transition(id=Transition.TRANSITION_CONFIGURE))
    # Kilted's rclpy logs it by itself.
    assert re.search(
        "transition 1 (is not possible in the|from current) state.*active", capfd.readouterr().err
    )


def test_a_value_of_unknown_type_is_answered_and_the_others_are_set(serve, call):
    node = serve()
    sound = Parameter("max_phrases", value=5).to_parameter_msg()
    strange, taken = call(SetParameters, "set_parameters", parameters=[STRANGE, sound]).results
    assert not strange.successful
    assert strange.reason == "max_boxes has a value of the unknown type 77."
    assert taken.successful
    assert node.parameters.max_phrases == 5
    together = call(SetParametersAtomically, "set_parameters_atomically", parameters=[sound, STRANGE]).result
    assert (together.successful, together.reason) == (False, strange.reason)


def test_a_callback_that_fails_is_answered_without_what_only_the_log_should_say(serve, call, monkeypatch):
    node = serve()

    def fail(parameters):
        raise OSError("/home/robot/secret")

    node.add_on_set_parameters_callback(fail)
    sound = Parameter("max_phrases", value=5).to_parameter_msg()
    [result] = call(SetParameters, "set_parameters", parameters=[sound]).results
    assert result.reason == "setting it failed (OSError): see the node's log."


def test_a_time_below_zero_does_not_end_the_node(serve, robot, capfd):
    node = serve(use_sim_time=True)
    clock = robot.publisher(Clock, "/clock")
    logged = ""
    while "clock_callback" not in logged:
        clock.publish(Clock(clock=Time(sec=-5, nanosec=1)))
        logged += capfd.readouterr().err
    while node.get_clock().now().nanoseconds != 7 * 10**9:
        clock.publish(Clock(clock=Time(sec=7)))
    assert robot.call("locate", text="the mug").error == Code.NO_IMAGE
