"""What an object can be: the words for it, and the numbers behind them."""

from __future__ import annotations

Rgb = tuple[float, float, float]  # 0 to 1

SIMPLE = ("cube", "ball", "can", "pill", "egg", "cone", "ring")
HOUSEHOLD = ("mug", "bowl", "bottle", "plate", "box", "banana")
SHAPES = SIMPLE + HOUSEHOLD
NOVEL = ("hammer",)  # never among SHAPES: to show the learning of a new object
LIES = {"can": 0.3, "bottle": 0.3, "mug": 0.15}  # how often it lies on its side

COLOURS: dict[str, Rgb] = {
    "red": (0.80, 0.05, 0.07),
    "green": (0.08, 0.55, 0.15),
    "blue": (0.08, 0.22, 0.85),
    "yellow": (0.95, 0.80, 0.05),
    "orange": (1.00, 0.43, 0.02),
    "purple": (0.42, 0.12, 0.62),
    "pink": (1.00, 0.50, 0.72),
    "brown": (0.36, 0.19, 0.08),
    "white": (0.95, 0.95, 0.93),
    "black": (0.06, 0.06, 0.07),
}
ONLY = {"banana": ("yellow", "green", "brown")}  # a shape's colours, where it has not all
SIZES = {"small": 0.7, "medium": 1.0, "large": 1.4}  # times the mesh
MATERIALS = ("matte", "shiny")
