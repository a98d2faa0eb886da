"""Convolution of a sequence with a kernel as long as itself, by FFT."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


class LongConvolution(torch.autograd.Function):
    """Its gradients are FFTs of real signals too; torch takes those of `rfft` by complex ones. It has no second derivatives."""

    @staticmethod
    def forward(ctx: FunctionCtx, signal: Tensor, kernel: Tensor) -> Tensor:
        size = kernel.shape[-1]
        signals, kernels = torch.fft.rfft(signal, n=size), torch.fft.rfft(kernel)
        ctx.save_for_backward(signals, kernels)
        return torch.fft.irfft(signals * kernels, n=size)[..., : signal.shape[-1]]

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        signals, kernels = ctx.saved_tensors
        length = gradient.shape[-1]
        gradients = torch.fft.rfft(gradient, n=2 * length)
        by_signal = torch.fft.irfft(gradients * kernels.conj(), n=2 * length)[..., :length]
        return by_signal, torch.fft.irfft((gradients * signals.conj()).sum(0), n=2 * length)


def long_convolution(
    signal: Float[Tensor, "samples channels length"], kernel: Float[Tensor, "channels twice"]
) -> Float[Tensor, "samples channels length"]:
    """y_t = sum_s kernel_(t - s) signal_s for each channel; the kernel has lags from 0 up, then those from -length to -1."""
    return LongConvolution.apply(signal, kernel)
