"""Play a bag into the node, by the bag's clock, as soon as the node is active.

rosbag2 plays it if it is installed, else the bag_player of this package.

    ros2 launch kosmos2 replay.launch.py bag:=runs/first command:="the red mug"

The arguments of grounding.launch.py work too; its topics are those of the bag.
"""

import os

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    RegisterEventHandler,
)
from launch.conditions import IfCondition, UnlessCondition
from launch.substitutions import LaunchConfiguration, ThisLaunchFileDir
from launch_ros.actions import Node
from launch_ros.event_handlers import OnStateTransition

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
            RegisterEventHandler(
                OnStateTransition(
                    goal_state="active",
                    entities=[
                        _play(condition=UnlessCondition(LaunchConfiguration("loop"))),
                        _play("--loop", condition=IfCondition(LaunchConfiguration("loop"))),
                    ],
                    handle_once=True,  # not again after a respawn
                )
            ),
            IncludeLaunchDescription(
                [ThisLaunchFileDir(), "/grounding.launch.py"],
                launch_arguments={
                    **{name: LaunchConfiguration(name) for name in TOPICS},
                    "use_sim_time": "true",
                }.items(),
            ),
        ]
    )


def _play(*options: str, condition: IfCondition | UnlessCondition) -> ExecuteProcess:
    bag, rate, image = map(LaunchConfiguration, ("bag", "rate", "image"))
    if _installed("ros2bag"):
        return ExecuteProcess(
            cmd=["ros2", "bag", "play", bag, "--clock", "--rate", rate, *options],
            condition=condition,
            output="screen",
        )
    return Node(
        package="kosmos2",
        executable="bag_player",
        arguments=[bag, "--clock", "--rate", rate, *options, "--wait-for", image],
        condition=condition,
        output="screen",
    )


def _installed(package: str) -> bool:
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    return any(os.path.isdir(os.path.join(prefix, "share", package)) for prefix in prefixes if prefix)
