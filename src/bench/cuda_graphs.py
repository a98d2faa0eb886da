"""A call recorded as a CUDA graph: what it costs without the launches of its kernels."""

from collections.abc import Callable

import torch

WARM_UP = 3
"""Calls on the stream that records, in which code is compiled and memory is taken."""


def record(call: Callable[[], object]) -> Callable[[], None]:
    """Runs a call once as a CUDA graph, and gives the graph's replay.

    Raises:
        RuntimeError: what cannot be recorded: the call waits for the GPU, or the sizes of its tensors depend on their values.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        call()
    return graph.replay
