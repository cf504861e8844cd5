"""The node `grounding`, brought to active.

    ros2 launch kosmos2 grounding.launch.py image:=/front/image_raw command:="the red mug; the bowl"

An argument that is left empty says nothing: params_file decides.
"""

import os

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("kosmos2")
# The node's parameters that are arguments too, by the argument's name.
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
# What the node listens to, with one camera without a name.
TOPICS = {
    "image": "image",
    "camera_info": "camera_info",
    "depth": "depth/image",
    "depth_camera_info": "depth/camera_info",
}
PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")  # Jazzy's name, later ones'


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument("model", default_value="", description="a checkpoint's folder or name"),
            DeclareLaunchArgument("device", default_value="", description="auto, cpu, cuda, cuda:1, ..."),
            DeclareLaunchArgument(
                "cameras", default_value="", description="names of several cameras: [left, right]"
            ),
            DeclareLaunchArgument("image", default_value="", description="the topic of images, raw or not"),
            DeclareLaunchArgument("camera_info", default_value="", description="the topic of calibration"),
            DeclareLaunchArgument("depth", default_value="", description="the topic of depth images"),
            DeclareLaunchArgument(
                "depth_camera_info", default_value="", description="the topic of their calibration"
            ),
            DeclareLaunchArgument(
                "transport", default_value="", description="how images come: raw or compressed"
            ),
            DeclareLaunchArgument("target_frame", default_value="", description="the frame of 3D boxes"),
            DeclareLaunchArgument("command", default_value="", description="what to locate in every image"),
            DeclareLaunchArgument(
                "params_file",
                default_value=PathJoinSubstitution([SHARE, "config", "grounding.yaml"]),
                description="all parameters of the node",
            ),
            DeclareLaunchArgument("namespace", default_value="", description="of the node and its topics"),
            DeclareLaunchArgument("name", default_value="grounding", description="of the node"),
            DeclareLaunchArgument(
                "autostart",
                default_value="true",
                description="the node brings itself to active, after a respawn too",
            ),
            DeclareLaunchArgument(
                "respawn", default_value="false", description="start the node again if it dies"
            ),
            DeclareLaunchArgument(
                "use_sim_time", default_value="false", description="time comes from /clock"
            ),
            DeclareLaunchArgument(
                "log_level", default_value="info", description="debug, info, warn, error or fatal"
            ),
            OpaqueFunction(function=_fast_dds),
            OpaqueFunction(function=_node),
        ]
    )


def _fast_dds(context: LaunchContext) -> list[SetEnvironmentVariable]:
    """Large images arrive, in all that is started from here on; unless there is a profile already."""
    if any(context.environment.get(name) for name in PROFILES):
        return []
    name = PROFILES[0 if os.environ.get("ROS_DISTRO") == "jazzy" else 1]  # the other is ignored or warned of
    return [SetEnvironmentVariable(name, PathJoinSubstitution([SHARE, "config", "fastdds.xml"]))]


def _node(context: LaunchContext) -> list[LifecycleNode]:
    given = {
        parameter: ParameterValue(LaunchConfiguration(argument), value_type=kind)
        for argument, (parameter, kind) in PARAMETERS.items()
        if _given(context, argument)
    }
    return [
        LifecycleNode(
            package="kosmos2",
            executable="grounding",
            name=LaunchConfiguration("name"),
            namespace=LaunchConfiguration("namespace"),
            parameters=[LaunchConfiguration("params_file"), given],
            remappings=_remappings(context),
            arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
            respawn=LaunchConfiguration("respawn"),
            respawn_delay=1.0,
            output="screen",
        )
    ]


def _remappings(context: LaunchContext) -> list[tuple[str, str]]:
    pairs = [(topic, given) for argument, topic in TOPICS.items() if (given := _given(context, argument))]
    # As image_transport does: the argument names the raw topic, JPEGs come below it.
    return pairs + [(f"{one}/compressed", f"{other}/compressed") for one, other in pairs if one == "image"]


def _given(context: LaunchContext, argument: str) -> str:
    return LaunchConfiguration(argument).perform(context)
