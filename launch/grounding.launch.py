"""Start the node `grounding` and bring it to the state active.

    ros2 launch kosmos2 grounding.launch.py image:=/front/image_raw command:="the red mug; the bowl"

An argument that is left empty has no effect: params_file decides.
"""

import os

from launch import Action, Event, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.event_handlers import OnProcessExit, OnProcessStart
from launch.events import matches_action
from launch.events.process import ShutdownProcess
from launch.logging import get_logger
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare
from launch_ros.utilities import make_namespace_absolute, prefix_namespace

QUICK_S = (
    60.0  # a process that ends sooner after its start died quickly: a wrong parameter, a crash while loading
)
QUICK_DEATHS = 5  # in a row, after which respawn gives up
LOG_LEVELS = ["debug", "info", "warn", "error", "fatal"]
SHARE = FindPackageShare("kosmos2")
# Launch arguments that set a parameter of the node: argument -> (parameter, type).
PARAMETERS = {
    "model": ("model", str),
    "device": ("device", str),
    "cameras": ("cameras", list[str]),
    "transport": ("image_transport", str),
    "target_frame": ("target_frame", str),
    "command": ("command", str),
    "autostart": ("autostart", bool),
    "use_sim_time": ("use_sim_time", bool),
}
# Launch arguments that remap an input topic of a single camera without a name: argument -> topic.
TOPICS = {
    "image": "image",
    "camera_info": "camera_info",
    "depth": "depth/image",
    "depth_camera_info": "depth/camera_info",
}
PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")  # Jazzy; Kilted and later


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "model", default_value="", description="checkpoint: its folder, or its name on the hub"
            ),
            DeclareLaunchArgument(
                "device", default_value="", description="device of the model: auto, cpu, cuda, cuda:1, ..."
            ),
            DeclareLaunchArgument(
                "cameras", default_value="", description="names of several cameras: [left, right]"
            ),
            DeclareLaunchArgument(
                "image", default_value="", description="topic of the images, without /compressed"
            ),
            DeclareLaunchArgument(
                "camera_info", default_value="", description="topic of the images' CameraInfo"
            ),
            DeclareLaunchArgument("depth", default_value="", description="topic of the depth images"),
            DeclareLaunchArgument(
                "depth_camera_info", default_value="", description="topic of the depth images' CameraInfo"
            ),
            DeclareLaunchArgument(
                "transport", default_value="", description="transport of the images: raw or compressed"
            ),
            DeclareLaunchArgument("target_frame", default_value="", description="TF frame of the 3D boxes"),
            DeclareLaunchArgument("command", default_value="", description="text to locate in every image"),
            DeclareLaunchArgument(
                "params_file",
                default_value=PathJoinSubstitution([SHARE, "config", "grounding.yaml"]),
                description="file with parameters of the node",
            ),
            DeclareLaunchArgument(
                "namespace", default_value="", description="namespace of the node and its topics"
            ),
            DeclareLaunchArgument("name", default_value="grounding", description="name of the node"),
            DeclareLaunchArgument(
                "autostart",
                default_value="",
                description="true: the node configures and activates itself, also after a respawn; false: a"
                " lifecycle manager does",
            ),
            DeclareLaunchArgument(
                "respawn",
                default_value="false",
                description="restart the node if it dies, but not if it dies soon after each start",
            ),
            DeclareLaunchArgument(
                "use_sim_time", default_value="", description="true: use the time of /clock"
            ),
            DeclareLaunchArgument(
                "log_level",
                default_value="info",
                choices=LOG_LEVELS,
                description="least severe messages of the node to log",
            ),
            OpaqueFunction(function=_fast_dds),
            OpaqueFunction(function=_node),
        ]
    )


def _fast_dds(context: LaunchContext) -> list[SetEnvironmentVariable]:
    """Set the Fast DDS profile for large images in everything started after this, unless one is set."""
    if any(context.environment.get(name) for name in PROFILES):
        return []
    name = PROFILES[
        0 if os.environ.get("ROS_DISTRO") == "jazzy" else 1
    ]  # Jazzy ignores the newer name, later ones warn of the older
    return [SetEnvironmentVariable(name, PathJoinSubstitution([SHARE, "config", "fastdds.xml"]))]


def _node(context: LaunchContext) -> list[Action]:
    overrides = {
        parameter: ParameterValue(LaunchConfiguration(argument), value_type=kind)
        for argument, (parameter, kind) in PARAMETERS.items()
        if _value(context, argument)
    }
    node = LifecycleNode(
        package="kosmos2",
        executable="grounding",
        name=LaunchConfiguration("name"),
        namespace=LaunchConfiguration("namespace"),
        parameters=[*_params_file(context), overrides],
        remappings=_remappings(context),
        arguments=["--ros-args", "--log-level", f"{_logger(context)}:={_value(context, 'log_level')}"],
        respawn=LaunchConfiguration("respawn"),
        respawn_delay=1.0,
        output="screen",
    )
    respawns = _Respawns(node)
    return [
        RegisterEventHandler(OnProcessStart(target_action=node, on_start=respawns.on_start)),
        RegisterEventHandler(OnProcessExit(target_action=node, on_exit=respawns.on_exit)),
        node,
    ]


class _Respawns:
    """Ends the respawning of a process that dies quickly again and again."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node, self._started_s, self._quick_deaths = node, 0.0, 0

    def on_start(self, event: Event, context: LaunchContext) -> None:
        self._started_s = context.asyncio_loop.time()

    def on_exit(self, event: Event, context: LaunchContext) -> list[Action]:
        quick = context.asyncio_loop.time() - self._started_s < QUICK_S
        self._quick_deaths = self._quick_deaths + 1 if quick else 0
        if self._quick_deaths < QUICK_DEATHS:
            return []
        get_logger(event.process_name).error(
            f"died {QUICK_DEATHS} times in a row within {QUICK_S:.0f} s of its start, so it is not started"
            " again: its last error is above."
        )
        return [EmitEvent(event=ShutdownProcess(process_matcher=matches_action(self._node)))]


def _params_file(context: LaunchContext) -> list[str]:
    """Return the file with parameters, in a list; without it the node would use the public model."""
    path = _value(context, "params_file")
    if path and not os.path.isfile(path):
        raise RuntimeError(
            f"params_file:={path} is not a file: give the path of a YAML file with parameters."
        )
    return [path] if path else []


def _logger(context: LaunchContext) -> str:
    """Return the name of the node's logger: a level for all loggers would be for those of ROS itself too."""
    pushed = context.launch_configurations.get("ros_namespace")  # by PushRosNamespace
    namespace = make_namespace_absolute(prefix_namespace(pushed, _value(context, "namespace")))
    return ".".join([*filter(None, namespace.split("/")), _value(context, "name")])


def _remappings(context: LaunchContext) -> list[tuple[str, str]]:
    pairs = [(topic, value) for argument, topic in TOPICS.items() if (value := _value(context, argument))]
    # As in image_transport, the argument names the raw topic, and JPEGs are on /compressed below it.
    return pairs + [(f"{old}/compressed", f"{new}/compressed") for old, new in pairs if old == "image"]


def _value(context: LaunchContext, argument: str) -> str:
    return LaunchConfiguration(argument).perform(context)
