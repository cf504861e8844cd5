"""How good is it: metrics, the paper's benchmarks, bag evaluation, reports."""
