"""Start a simulated camera above a tabletop, and the node on its images.

    ros2 launch kosmos2 sim.launch.py seed:=7 command:="the red mug; the bowl"

The arguments of grounding.launch.py work too, except for the topics, which are those of the camera.
"""

import os

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

# Not a substitution: --show-args reads the arguments of included files before substitutions are known.
GROUNDING = os.path.join(os.path.dirname(__file__), "grounding.launch.py")
CAMERA = {  # launch arguments that set a parameter of the simulated camera
    "seed": int,
    "split": str,
    "width": int,
    "height": int,
    "rate_hz": float,
    "loop_s": float,
    "still": bool,
}
TOPICS = {
    "image": "camera/image",
    "camera_info": "camera/camera_info",
    "depth": "camera/depth/image",
    "depth_camera_info": "camera/depth/camera_info",
}


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "model",
                default_value=PathJoinSubstitution([FindPackageShare("kosmos2"), "models", "tabletop-tiny"]),
                description="checkpoint that was trained on the tabletop",
            ),
            DeclareLaunchArgument(
                "target_frame", default_value="world", description="TF frame of the 3D boxes"
            ),
            DeclareLaunchArgument("seed", default_value="0", description="seed of the scene"),
            DeclareLaunchArgument(
                "split",
                default_value="standard",
                description="kind of scene: train, standard, cluttered, occluded or far",
            ),
            DeclareLaunchArgument("width", default_value="640", description="width of the images, in pixels"),
            DeclareLaunchArgument(
                "height", default_value="480", description="height of the images, in pixels"
            ),
            DeclareLaunchArgument("rate_hz", default_value="10.0", description="images per second"),
            DeclareLaunchArgument(
                "loop_s",
                default_value="5.0",
                description="length of the film that is shown in a loop, in seconds; 0: no loop",
            ),
            DeclareLaunchArgument("still", default_value="false", description="the camera does not move"),
            # First, so that the camera gets the middleware profile that it sets.
            IncludeLaunchDescription(
                GROUNDING,
                launch_arguments={
                    **TOPICS,
                    "model": LaunchConfiguration("model"),
                    "target_frame": LaunchConfiguration("target_frame"),
                }.items(),
            ),
            Node(
                package="kosmos2",
                executable="sim_camera",
                namespace=LaunchConfiguration("namespace"),
                parameters=[
                    {
                        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
                        for name, kind in CAMERA.items()
                    }
                ],
                output="screen",
            ),
        ]
    )
