"""Triton compiles every kernel for an H200 (sm_90) where there is none; how fast they are, that does not say."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed"),
]

# Launches are recorded rather than run, in a process where Triton compiles for real.
CODE = """
import sys, torch, triton, triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.autotuner import Autotuner
from kernels.triton import cases
from erlangen.kernels.triton import interpreted
import importlib
assert not interpreted()
cases.DEVICE = "cpu"
TYPES = {torch.float64: "*fp64", torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16",
         torch.int64: "*i64", torch.int32: "*i32"}
compiled = {}

def record(self, *args, grid, warmup, **constants):
    names = self.fn.arg_names
    signature, pointers = {}, []
    values = dict(zip(names, args)) | constants
    for config in self.configs[:2]:
        values |= config.kwargs
        signature = {
            n: TYPES[v.dtype] if isinstance(v, torch.Tensor) else "i32" if type(v) is int and n.islower() else "constexpr"
            for n, v in ((n, values[n]) for n in names)
        }
        consts = {n: values[n] for n, kind in signature.items() if kind == "constexpr"}
        key = (f"{self.fn.__module__.rpartition('.')[2]}.{self.fn.__name__}", str(signature), str(consts), config.num_warps)
        if key not in compiled:
            source = ASTSource(fn=self.fn, signature=signature, constexprs=consts)
            binary = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": config.num_warps})
            assert binary.metadata.shared <= 227 * 1024, (key, binary.metadata.shared)
            compiled[key] = len(binary.asm["cubin"])

Autotuner.run = record
op = sys.argv[1]
for dtype in (torch.float32, torch.bfloat16, torch.float64):
    for name, sizes in cases.QUICK + cases.THOROUGH:
        if name == op and (name == "s2_activation" or (name, sizes) in cases.QUICK):
            args, spec = cases.example(op, dtype, sizes)
            kernel = importlib.import_module("erlangen.kernels.triton." + op).build(**spec)
            cases.derivatives(kernel, args)
print(len(compiled), "compiled", sorted({key[0] for key in compiled}))
"""
KERNELS = {
    "spherical_harmonics": 2,
    "wigner": 2,
    "rotate_gather": 3,
    "so2_conv": 3,
    "so2_depthwise": 5,
    "so2_depthwise_radial": 6,
    "gaunt_product": 1,
    "s2_activation": 1,
    "geometric_product": 1,
    "segment_sum": 1,
    "segment_softmax": 2,
    "segment_attention": 5,
}


@pytest.mark.parametrize("op", KERNELS)
def test_every_kernel_compiles_for_an_h200(op):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE, op],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count("_kernel") == KERNELS[op], done.stdout
