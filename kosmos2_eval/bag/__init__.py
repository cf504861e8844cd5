"""How well a model does on recorded robot data.

topics (what is in the bag) -> frames (image, depth, transforms of one stamp) -> asking, labels (what is
asked of it, what is true) -> evaluation (the loop) -> queries -> figures -> results, overlay, report
"""
