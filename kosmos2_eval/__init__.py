"""Accuracy and score calibration: metrics, evaluation on scenes, on robot recordings and on benchmarks."""
