"""The node's parameters as `ros2 param` meets them: what is read back, what is refused and how it says so."""

import pytest
import yaml

rclpy = pytest.importorskip("rclpy", reason="this environment was set up without ROS (ROS=none)")

from rclpy.parameter import Parameter, get_parameter_value  # noqa: E402
from rclpy.parameter_client import AsyncParameterClient  # noqa: E402

from kosmos2_core.errors import InputError  # noqa: E402
from kosmos2_ros.parameters import FIXED, PARAMETERS  # noqa: E402


def connect(robot):
    """A client as `ros2 param` is one."""
    client = AsyncParameterClient(robot.node, "/grounding")
    assert client.wait_for_services(60)
    return client


def typed(name, text):
    """The parameter that `ros2 param set NODE NAME TEXT` sends."""
    parameter = Parameter(name).to_parameter_msg()
    parameter.value = get_parameter_value(text)
    return parameter


def test_a_dump_of_the_node_can_be_loaded_again(serve, robot, tmp_path):
    serve(command="[the red mug]", cameras=["left", "right"])
    client = connect(robot)
    values = robot.result(client.get_parameters(list(PARAMETERS))).values
    dump = {
        name: rclpy.parameter.parameter_value_to_python(value)
        for name, value in zip(PARAMETERS, values, strict=True)
    }
    file = tmp_path / "dump.yaml"
    file.write_text(yaml.safe_dump({"/grounding": {"ros__parameters": dump}}))
    results = robot.result(client.load_parameter_file(str(file))).results
    assert len(results) == len(PARAMETERS)
    assert [result.reason for result in results if not result.successful] == []


@pytest.mark.parametrize(
    ("name", "value"), [("device", "cpu"), ("cameras", ["left"]), ("autostart", False), ("dtype", "float32")]
)
def test_a_change_of_what_is_fixed_is_refused_with_the_commands_that_help(serve, name, value):
    node = serve()
    [result] = node.set_parameters([Parameter(name, value=value)])
    assert not result.successful
    assert name in result.reason
    deactivated, cleaned = (
        result.reason.index(f"`ros2 lifecycle set /grounding {word}`") for word in ("deactivate", "cleanup")
    )
    assert deactivated < cleaned
    node.trigger_deactivate()
    node.trigger_cleanup()
    [result] = node.set_parameters([Parameter(name, value=value)])
    assert result.successful


def test_a_fixed_parameter_says_so_in_its_description(serve):
    node = serve(active=False)
    said = {
        name
        for name in PARAMETERS
        if "Read when the node is configured" in node.describe_parameter(name).additional_constraints
    }
    assert said == set(FIXED)
    assert "One of auto, " in node.describe_parameter("dtype").additional_constraints


@pytest.mark.parametrize(
    ("text", "command", "phrases"),
    [
        ("[the red mug]", "[the red mug]", ["the red mug"]),
        ("[the red mug, the bowl]", "[the red mug]; [the bowl]", ["the red mug", "the bowl"]),
        (r'["a \\ b"]', r"[a \\ b]", [r"a \ b"]),
        ("put [the red mug] into [the bowl]",) * 2 + (["the red mug", "the bowl"],),
    ],
)
def test_a_command_that_yaml_takes_for_a_list_is_what_was_typed(serve, robot, text, command, phrases):
    node = serve()
    [result] = robot.result(connect(robot).set_parameters([typed("command", text)])).results
    assert result.successful, result.reason
    assert node.get_parameter("command").value == command
    grounded = node.parameters.request().grounded()
    assert [grounded.words_of(phrase) for phrase in grounded.phrases] == phrases
    started = serve(active=False, command=yaml.safe_load(text))
    assert started.parameters.command == command


def test_an_empty_list_for_a_command_asks_for_nothing(serve):
    node = serve(command="the mug")
    [result] = node.set_parameters([Parameter("command", value=[""])])
    assert result.successful, result.reason
    assert node.parameters.request() is None


@pytest.mark.parametrize("device", ["meta", "gpu", "cuda:", "cpu:x", "cuda:0 "])
def test_a_device_that_is_none_is_refused_in_a_sentence(serve, device):
    with pytest.raises(InputError, match=r"^device is .*: choose auto, cpu, cuda or cuda:1\.$"):
        serve(active=False, device=device)


def test_a_failed_configuration_is_an_error_in_the_log_every_time(serve, capfd):
    def load(parameters):
        raise InputError("there is no such model.")

    node = serve(active=False, load=load)
    for _ in range(2):
        node.trigger_configure()
        lines = [line for line in capfd.readouterr().err.splitlines() if "no such model" in line]
        assert len(lines) == 1
        assert lines[0].startswith("[ERROR]")
        assert lines[0].endswith("the node stays unconfigured: there is no such model.")


@pytest.mark.parametrize("text", ["...", "?!", "[ ]", " ; ?", "put [?!] into [the bowl]"])
def test_a_text_without_a_word_is_refused(serve, robot, text):
    node = serve(command="the mug")
    [result] = node.set_parameters([Parameter("command", value=text)])
    assert not result.successful
    assert "names nothing to locate" in result.reason
    assert "names nothing to locate" in robot.call("locate", text=text).message
    assert node.parameters.command == "the mug"
