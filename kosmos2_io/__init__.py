"""Robot data without a running ROS: images, depth, camera models, transforms, bags. No rclpy."""
