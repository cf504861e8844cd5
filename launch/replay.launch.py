"""Play a bag into the node, by the bag's clock, as soon as the node reads images.

    ros2 launch kosmos2 replay.launch.py bag:=runs/first command:="the red mug"

The arguments of grounding.launch.py work too; its topics are those of the bag. With `command`, commands that
were recorded in the bag are not played; without it they are.
"""

import os

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, LogInfo, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.utilities import make_namespace_absolute, prefix_namespace

# Not a substitution: --show-args reads the arguments of included files before substitutions are known.
GROUNDING = os.path.join(os.path.dirname(__file__), "grounding.launch.py")
TOPICS = {
    "image": "/camera/image",
    "camera_info": "/camera/camera_info",
    "depth": "/camera/depth/image",
    "depth_camera_info": "/camera/depth/camera_info",
}


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="folder of the bag"),
            DeclareLaunchArgument("rate", default_value="1.0", description="speed; 1.0 is as recorded"),
            DeclareLaunchArgument("loop", default_value="false", description="start again at the end"),
            *(
                DeclareLaunchArgument(name, default_value=topic, description="topic in the bag")
                for name, topic in TOPICS.items()
            ),
            IncludeLaunchDescription(
                GROUNDING,
                launch_arguments={
                    **{name: LaunchConfiguration(name) for name in TOPICS},
                    "use_sim_time": "true",
                }.items(),
            ),
            OpaqueFunction(function=_play),
        ]
    )


def _play(context: LaunchContext) -> list[Action]:
    """Return the player, which leaves out recorded commands if the user gave one, and a line that says so.

    The player is that of this package: rosbag2's cannot wait for the node, and launch misses the event that
    the node is active if a small model is loaded before launch has found the node.
    """
    bag, rate, image = map(LaunchConfiguration, ("bag", "rate", "image"))
    options = ["--loop"] if IfCondition(LaunchConfiguration("loop")).evaluate(context) else []
    topic = _command_topic(context)
    if LaunchConfiguration("command").perform(context):
        options += ["--exclude-topics", topic]
        which = "are not played: the argument command counts"
    else:
        which = "are played: the argument command was not given"
    player = Node(
        package="kosmos2",
        executable="bag_player",
        arguments=[bag, "--clock", "--rate", rate, *options, "--wait-for", image],
        output="screen",
    )
    return [LogInfo(msg=f"commands in the bag, on {topic}, {which}"), player]


def _command_topic(context: LaunchContext) -> str:
    """Return the full name of the node's topic `command`."""
    name, namespace = (LaunchConfiguration(key).perform(context) for key in ("name", "namespace"))
    pushed = context.launch_configurations.get("ros_namespace")  # by PushRosNamespace
    return f"{make_namespace_absolute(prefix_namespace(pushed, namespace)).rstrip('/')}/{name}/command"
