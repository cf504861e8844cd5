"""The node that grounds camera images, and the nodes around it. The only place that imports rclpy."""
