"""The benchmarks of the Kosmos-2 paper: official data, the paper's protocols, published results beside ours.

    benchmark.read(data) -> questions -> runner -> answers (on disk) -> benchmark.score -> comparison

`grounding`, `captions`, `visual_questions` and `language` define the benchmarks; `catalogue` lists them.
"""
