"""S4D: its convolution is the recurrence, its initialisations are the paper's, its diagonal is HiPPO in the limit."""

import math
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from erlangen.errors import UserError
from erlangen.kernels import Kernels
from erlangen.models.paper import Paper
from erlangen.models.sequences.s4d import FREQUENCIES, StateSpace, as_sequence, inv, legs
from erlangen.runs.assemble import build_paper
from erlangen.runs.config import compose_config, resolved
from erlangen.tasks.batch import TensorBatch
from erlangen.tasks.classification import Classification
from erlangen.tasks.spec import Field, Spec, Target

SPEC = Spec(
    benchmark="scifar",
    modality="sequences",
    split="all",
    source="miniature",
    fields={"sequence": Field(level="graph", shape=(1024, 3))},
    targets=(Target(name="label", classes=10),),
)
REFERENCE = Kernels("reference")


def paper(*overrides: str, spec: Spec = SPEC) -> Paper:
    return build_paper(resolved(*compose_config(["model=s4d", "data=scifar", *overrides])), spec)


def state_space(init: str = "lin", bidirectional: bool = False, channels: int = 3, state: int = 8) -> StateSpace:
    return StateSpace(REFERENCE, channels, state, init, bidirectional).double()


def recurrence(ssm: StateSpace, u: torch.Tensor, direction: int = 0) -> torch.Tensor:
    """y_k of x_{k+1} = exp(step A) x_k + A^-1 (exp(step A) - 1) B u_k with all N states, conjugates written out."""
    half = torch.complex(-ssm.log_decay.exp(), ssm.frequency)
    a = torch.cat([half, half.conj()], -1)
    c = torch.view_as_complex(ssm.c)[direction]
    c = torch.cat([c, c.conj()], -1)
    a_bar = (ssm.log_step.exp().unsqueeze(-1) * a).exp()
    b_bar = (a_bar - 1) / a
    x, y = torch.zeros(len(u), *a.shape, dtype=a.dtype), []
    for now in u.unbind(-1):
        x = a_bar * x + b_bar * now.unsqueeze(-1)
        y.append((c * x).sum(-1))
    result = torch.stack(y, -1)
    assert result.imag.abs().max() < 1e-12
    return result.real


@pytest.mark.parametrize("init", FREQUENCIES)
def test_the_kernel_is_the_recurrences_answer_to_an_impulse(init: str) -> None:
    ssm = state_space(init)
    impulse = torch.zeros(1, 3, 50, dtype=torch.float64)
    impulse[..., 0] = 1
    torch.testing.assert_close(ssm.kernel(50), recurrence(ssm, impulse), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backend", ["reference", "two_level"])
def test_the_convolution_is_the_recurrence(backend: str) -> None:
    torch.manual_seed(0)
    ssm = StateSpace(Kernels("reference", vandermonde=backend), 3, 8, "legs", False).double()
    u = torch.randn(2, 3, 40, dtype=torch.float64)
    expected = recurrence(ssm, u) + ssm.d.unsqueeze(-1) * u
    torch.testing.assert_close(ssm(u), expected, rtol=1e-9, atol=1e-11)


def test_backwards_is_the_same_on_the_sequence_to_come() -> None:
    """The second kernel begins with the next step: no moment is seen twice."""
    ssm = state_space(bidirectional=True)
    u = torch.randn(2, 3, 40, dtype=torch.float64)
    ahead = recurrence(ssm, u.flip(-1), 1).flip(-1)  # at each step itself and what comes
    expected = recurrence(ssm, u) + ssm.d.unsqueeze(-1) * u
    expected[..., :-1] += ahead[..., 1:]
    torch.testing.assert_close(ssm(u), expected, rtol=1e-9, atol=1e-11)


def test_only_the_bidirectional_layer_sees_what_comes() -> None:
    u = torch.randn(1, 3, 30, dtype=torch.float64)
    later = u.clone()
    later[..., 20:] += 1
    for bidirectional in (False, True):
        ssm = state_space(bidirectional=bidirectional)
        same = torch.allclose(ssm(u)[..., :20], ssm(later)[..., :20])
        assert same != bidirectional


def hippo_legs(state: int) -> torch.Tensor:
    n = torch.arange(state, dtype=torch.float64)
    root = (2 * n + 1).sqrt()
    return -torch.outer(root, root).tril(-1) - torch.diag(n + 1)


def test_legs_are_the_eigenvalues_of_hippo_made_normal() -> None:
    p = (torch.arange(16, dtype=torch.float64) + 0.5).sqrt()
    eigenvalues = torch.linalg.eigvals(hippo_legs(16) + torch.outer(p, p))
    torch.testing.assert_close(eigenvalues.real, torch.full((16,), -0.5, dtype=torch.float64))
    torch.testing.assert_close(eigenvalues.imag.sort().values[8:], legs(16))


def test_the_diagonal_of_hippo_is_hippo_in_the_limit() -> None:
    """Theorem 3: exp(t A_N) B / 2 tends to exp(t A) B, here in the first component, which is exp(-t).

    The limit is a weak one, so we compare Laplace transforms, which is 1 / (s + 1): equal at whole numbers, of second order
    in 1 / N between them.
    """
    errors = []
    s = torch.tensor([0.0, 1, 2, 4, 0.5], dtype=torch.float64)
    for state in (16, 64, 256):
        b = (2 * torch.arange(state, dtype=torch.float64) + 1).sqrt()
        skew = torch.outer(b, b).tril(-1) / 2
        values, vectors = torch.linalg.eigh(1j * (skew - skew.T))
        torch.testing.assert_close(values[state // 2 :], legs(state))
        weight = vectors[0] * (vectors.conj().T @ (b / 2).to(vectors.dtype))
        transform = (weight / (s[:, None] + 0.5 - 1j * values)).sum(-1).real
        error = (transform - 1 / (s + 1)).abs()
        assert error[:4].max() < 1e-13
        errors.append(float(error[4]))
    assert errors[0] < 1e-3
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(16, rel=0.05)


def test_inverse_frequencies_approach_those_of_legs() -> None:
    """The largest of each (the paper's conjecture 5); and both have the same smallest order of magnitude."""
    ratios = [float(legs(state)[-1] / inv(state)[0]) for state in (8, 64, 256)]
    assert ratios[0] > ratios[1] > ratios[2] > 1
    assert ratios[2] == pytest.approx(1, abs=0.01)


def test_linear_frequencies_are_those_of_fourier() -> None:
    ssm = state_space("lin", state=6)
    torch.testing.assert_close(ssm.frequency[0], math.pi * torch.arange(3).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(ssm.log_decay.exp(), torch.full((3, 3), 0.5, dtype=torch.float64), rtol=1e-6, atol=0)
    steps = StateSpace(REFERENCE, 4000, 2, "lin", False).log_step
    assert math.log(1e-3) <= steps.min() < math.log(1.1e-3)
    assert math.log(0.9e-1) < steps.max() <= math.log(1e-1)


def size(model: Paper) -> int:
    return sum(p.numel() for p in model.parameters())


def test_the_published_sizes() -> None:
    """4 x 128 is "200k parameters" in the authors' README; here added up by hand."""
    states = 32
    layer = 128 * (2 + 2 * states + 2 * states) + 256 * 128 + 256 + 256
    with torch.device("meta"):
        assert size(paper()) == 4 * layer + 4 * 128 + 1290 == 201_482
        large = paper("experiment=s4d_scifar_large")
    layer = 512 * (2 + 2 * states + 4 * states) + 1024 * 512 + 1024 + 1024
    assert size(large) == 6 * layer + 4 * 512 + 5130


def sequences(samples: int) -> TensorBatch:
    return TensorBatch(
        sequence=torch.rand(samples, 1024, 3), label=torch.arange(samples) % 10, id=torch.arange(samples)
    )


def prepared(*overrides: str) -> Paper:
    model = paper("experiment=s4d_scifar", *overrides)
    model.prepare(Classification(SPEC), {}, lambda: [sequences(8)])
    return model


def test_one_step_at_the_published_width() -> None:
    model, batch = prepared(), sequences(2)
    optimizer = model.recipe.optimizer(model.param_groups())
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    loss = cross_entropy(model(batch)["label"], batch.label)
    loss.backward()
    optimizer.step()
    after = cross_entropy(model(batch)["label"], batch.label)
    assert loss.isfinite()
    assert after.isfinite()
    # Adam's first step is the learning rate, and the slow group decays nothing
    slow = {"log_step", "log_decay", "frequency"}
    for name, p in model.named_parameters():
        moved = float((p.detach() - before[name]).abs().max())
        limit = 1e-3 if name.split(".")[-1] in slow else 0.01 * (1 + 0.01 * float(before[name].abs().max()))
        assert 0 < moved < 1.01 * limit, name


def test_states_learn_slowly_and_do_not_decay() -> None:
    model = prepared()
    fast, slow = model.recipe.optimizer(model.param_groups()).param_groups
    assert (fast["lr"], fast["weight_decay"], slow["lr"], slow["weight_decay"]) == (0.01, 0.01, 1e-3, 0)
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)].split(".")[-1] for p in slow["params"]} == {"log_step", "log_decay", "frequency"}
    assert len(slow["params"]) == 3 * 4
    assert len(fast["params"]) + len(slow["params"]) == len(names)


def test_images_are_read_row_by_row() -> None:
    image = torch.arange(24.0).view(1, 2, 3, 4)
    sequence = as_sequence(TensorBatch(image=image))
    assert sequence.shape == (1, 12, 2)
    assert sequence[0, :, 0].tolist() == list(range(12))


def small(*overrides: str) -> Any:
    return prepared("model.layers=2", "model.channels=16", "model.state=8", "model.dropout=0.0", *overrides)


def test_half_precision_stays_near_single() -> None:
    model, batch = small().eval(), sequences(2)
    single = model(batch)["label"]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(batch)["label"]
    torch.testing.assert_close(mixed.float(), single, atol=0.05 * float(single.detach().std()) + 0.02, rtol=0)
    batch = batch.to(torch.bfloat16)
    assert model.to(torch.bfloat16)(batch)["label"].isfinite().all()


@pytest.mark.parametrize(("override", "complaint"), [("model.init=dss", "lin, inv, legs"), ("model.state=7", "even")])
def test_bad_options_are_refused(override: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        paper(override)
