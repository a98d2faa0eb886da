"""The convolution by FFT is the sum that defines it, and so are its gradients."""

import torch

from erlangen.nn.long_convolution import long_convolution


def test_a_convolution_and_its_gradients() -> None:
    signal = torch.randn(2, 3, 7, dtype=torch.float64, requires_grad=True)
    kernel = torch.randn(3, 14, dtype=torch.float64, requires_grad=True)
    lags = torch.arange(7).unsqueeze(1) - torch.arange(
        7
    )  # of y_t and x_s; a negative index counts from the kernel's end
    torch.testing.assert_close(
        long_convolution(signal, kernel), torch.einsum("cts, ncs -> nct", kernel[:, lags], signal)
    )
    assert torch.autograd.gradcheck(long_convolution, (signal, kernel))
