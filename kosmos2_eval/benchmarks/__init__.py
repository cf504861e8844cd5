"""The paper's benchmarks: official files in, the paper's protocols, figures beside the paper's out.

    benchmark.read(data) -> questions -> asking -> answers (on disk) -> benchmark.score -> comparison

A module for each data set says what is asked and how answers are judged; `catalogue` lists them.
"""
