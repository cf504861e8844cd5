"""The Kosmos-2 model and what it says: grounded text, boxes and their scores. No ROS."""

__version__ = "0.1.0"
