"""Frames turn with their cloud, and are orthogonal and finite for every cloud."""

import pytest
import torch

from erlangen.geometry.rotations import random_orthogonal
from erlangen.nn.frames import centroids, covariances, orthonormal, principal_axes, proper, sign_choices

EYE = torch.eye(3, dtype=torch.float64)


def normal(*shape: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_centroid_and_covariance_are_numpys(generator: torch.Generator) -> None:
    pos, index = normal(9, 3, generator=generator), torch.tensor([0] * 4 + [2] * 5)
    torch.testing.assert_close(centroids(pos, index, 3)[2], pos[4:].mean(0))
    found = covariances(pos, index, 3)
    torch.testing.assert_close(found[0], 3 * pos[:4].T.cov())
    assert not found[1].any()  # a sample without nodes


def test_principal_axes_are_those_a_matrix_was_made_of(generator: torch.Generator) -> None:
    axes = random_orthogonal(5, generator=generator)
    matrices = axes @ torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64).diag() @ axes.mT
    overlap = (principal_axes(matrices, 1e-8).mT @ axes).abs()
    torch.testing.assert_close(overlap, EYE.expand(5, 3, 3))


def test_gradient_of_principal_axes_is_the_difference_quotient(generator: torch.Generator) -> None:
    pos = normal(6, 3, generator=generator).requires_grad_()
    index = torch.zeros(6, dtype=torch.long)

    def smallest_projector(pos):  # what the arbitrary sign leaves alone
        axis = principal_axes(covariances(pos, index, 1), 1e-8)[..., 0]
        return axis[:, :, None] * axis[:, None, :]

    assert torch.autograd.gradcheck(smallest_projector, pos)
    assert torch.autograd.gradgradcheck(smallest_projector, pos)


@pytest.mark.parametrize("values", [(0, 0, 0), (0, 0, 1), (0, 1, 1), (2, 2, 2), (1, 1 + 1e-12, 2)])
def test_equal_moments_give_axes_and_finite_gradients(values: tuple, generator: torch.Generator) -> None:
    turn = random_orthogonal(generator=generator)
    matrix = (turn @ torch.tensor(values, dtype=torch.float64).diag() @ turn.mT)[None].requires_grad_()
    axes = principal_axes(matrix, 1e-8)
    torch.testing.assert_close(axes.mT @ axes, EYE[None])
    (gradient,) = torch.autograd.grad((axes * normal(3, 3, generator=generator)).sum(), matrix)
    assert gradient.isfinite().all()


def test_gram_schmidt_is_qr_with_a_positive_diagonal(generator: torch.Generator) -> None:
    for dim in (1, 2, 3, 5):
        vectors = normal(4, dim, dim, generator=generator)
        q, r = torch.linalg.qr(vectors)
        expected = q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None]
        torch.testing.assert_close(orthonormal(vectors, 1e-12), expected)


def test_gram_schmidt_turns_with_its_vectors(generator: torch.Generator) -> None:
    vectors, turn = normal(4, 3, 3, generator=generator), random_orthogonal(4, generator=generator)
    torch.testing.assert_close(orthonormal(turn @ vectors, 1e-12), turn @ orthonormal(vectors, 1e-12))


DEPENDENT = {
    "zero": torch.zeros(3, 3),
    "one direction": torch.tensor([[1.0, 2.0, -1.0]]).T @ torch.tensor([[1.0, 2.0, 3.0]]),
    "a plane": torch.tensor([[1.0, 2.0, -1.0], [0.0, 1.0, 1.0], [1.0, 3.0, 0.0]]).T,
    "second is zero": torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).T,
    "tiny": 1e-200 * torch.eye(3, dtype=torch.float64),
}


@pytest.mark.parametrize("name", DEPENDENT)
def test_gram_schmidt_completes_what_dependent_vectors_leave_open(name: str, generator: torch.Generator) -> None:
    vectors = DEPENDENT[name].double()[None].requires_grad_()
    frame = orthonormal(vectors, 1e-8)
    torch.testing.assert_close(frame.mT @ frame, EYE[None])
    (gradient,) = torch.autograd.grad((frame * normal(3, 3, generator=generator)).sum(), vectors)
    assert gradient.isfinite().all()
    first = vectors.detach()[0, :, 0]
    if first.norm() > 1e-9:
        torch.testing.assert_close(frame.detach()[0, :, 0], first / first.norm())


def test_proper_frames_are_rotations(generator: torch.Generator) -> None:
    frames = random_orthogonal(20, generator=generator)
    turned = proper(frames)
    torch.testing.assert_close(torch.linalg.det(turned), torch.ones(20, dtype=torch.float64))
    assert torch.equal(turned[..., :2], frames[..., :2])


def test_choices_of_signs_are_a_group() -> None:
    for dim in (1, 3, 5):
        every, even = sign_choices(dim, False, EYE), sign_choices(dim, True, EYE)
        assert len(every.unique(dim=0)) == 2**dim
        assert len(even.unique(dim=0)) == 2 ** (dim - 1)
        assert (even.prod(-1) == 1).all()
