"""SAM: the step of the paper to the last bit, and nothing else that two passes could leave behind."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from erlangen.datamodules.sampling import seed_for, set_seed
from erlangen.errors import UserError
from erlangen.models.paper import Paper
from erlangen.optim.sam import SAM, climb
from erlangen.runs.assemble import build_paper
from erlangen.runs.config import compose_config, resolved
from erlangen.runs.randomness import KeyedRandomness
from erlangen.tasks.batch import TensorBatch
from erlangen.tasks.classification import Classification
from erlangen.tasks.spec import Field, Spec, Target

SPEC = Spec(
    benchmark="pictures",
    modality="images",
    split="all",
    source="miniature",
    fields={"image": Field(level="graph", shape=(1, 8, 8))},
    targets=(Target(name="label", classes=10),),
)
SEED = 5


class Noisy(nn.Module):
    """Batch norm and dropout before a linear head: two passes could leave traces in statistics and random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(144, 10)
        )

    def forward(self, batch: Any) -> dict[str, torch.Tensor]:
        return {"label": self.body(batch.image)}


def batches(count: int = 3) -> list[TensorBatch]:
    g = torch.Generator().manual_seed(1)
    return [
        TensorBatch(
            image=torch.rand(12, 1, 8, 8, generator=g),
            label=torch.randint(10, (12,), generator=g),
            id=torch.arange(12),
        )
        for _ in range(count)
    ]


def noisy_paper(*overrides: str) -> Paper:
    options = ["model=mlp", "data=digits", "schedule=constant", *overrides]
    paper = build_paper(resolved(*compose_config(options)), SPEC)
    torch.manual_seed(2)
    paper.network = Noisy()
    paper.prepare(Classification(SPEC), {}, list)
    return paper


class Losses(L.Callback):
    """What was logged after each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.seen.append(float(trainer.callback_metrics["train/loss"]))


def fit(paper: Paper, folder: Path, epochs: int, resume: Path | None = None) -> tuple[L.Trainer, list[float]]:
    losses = Losses()
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[KeyedRandomness(SEED), losses],
    )
    trainer.fit(paper, DataLoader(batches(), batch_size=None), ckpt_path=resume)
    return trainer, losses.seen


SGD = ("optimizer@optimizer.base=sgd", "optimizer.base.lr=0.05")


@pytest.mark.parametrize("base", [(), SGD], ids=["adamw", "sgd"])
def test_a_run_is_the_two_passes_written_by_hand(tmp_path: Path, base: tuple[str, ...]) -> None:
    """eq. (2): the gradient at w + rho g / |g| steps from w; statistics, random numbers and the log are the first pass's."""
    paper = noisy_paper("optimizer=sam", "optimizer.rho=0.3", *base)
    _, logged = fit(paper, tmp_path, 2)
    after = torch.get_rng_state()

    twin = noisy_paper(f"optimizer={'sgd' if base else 'adamw'}", *(["optimizer.lr=0.05"] if base else []))
    network = twin.network.train()
    optimizer = twin.recipe.optimizer(twin.param_groups())
    parameters = [p for group in optimizer.param_groups for p in group["params"]]  # the norm's last bit is their order
    losses = []
    for epoch in range(2):
        for number, batch in enumerate(batches()):
            set_seed(seed_for(SEED, "train", 0, epoch, number))
            before = torch.get_rng_state()
            loss = cross_entropy(network(batch)["label"], batch.label)
            losses.append(loss.item())
            gradients = torch.autograd.grad(loss, parameters)
            statistics = {name: buffer.clone() for name, buffer in network.named_buffers()}
            norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
            here = [p.detach().clone() for p in parameters]
            torch.set_rng_state(before)
            with torch.no_grad():
                for p, gradient in zip(parameters, gradients, strict=True):
                    p.add_(gradient * (0.3 / norm))
            optimizer.zero_grad()
            cross_entropy(network(batch)["label"], batch.label).backward()
            with torch.no_grad():
                for p, w in zip(parameters, here, strict=True):
                    p.copy_(w)
            network.load_state_dict(statistics, strict=False)
            optimizer.step()
    for (name, value), expected in zip(paper.network.state_dict().items(), network.state_dict().values(), strict=True):
        assert torch.equal(value, expected), name
    assert logged == losses
    assert torch.equal(after, torch.get_rng_state())


def test_without_a_distance_it_is_its_base(tmp_path: Path) -> None:
    """rho = 0, with statistics, log and random numbers as one pass leaves them."""
    sam, plain = noisy_paper("optimizer=sam", "optimizer.rho=0.0"), noisy_paper("optimizer=adamw")
    trainer, sam_losses = fit(sam, tmp_path, 2)
    _, plain_losses = fit(plain, tmp_path, 2)
    for (name, value), expected in zip(sam.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(value, expected), name
    assert sam_losses == plain_losses
    assert trainer.global_step == 6


def test_it_goes_on_from_a_checkpoint_as_if_nothing_had_happened(tmp_path: Path) -> None:
    whole = noisy_paper("optimizer=sam", "optimizer.rho=0.3")
    finished, _ = fit(whole, tmp_path, 2)
    half, _ = fit(noisy_paper("optimizer=sam", "optimizer.rho=0.3"), tmp_path, 1)
    half.save_checkpoint(tmp_path / "half.ckpt")
    assert torch.load(tmp_path / "half.ckpt", weights_only=True)["optimizer_states"]
    again = noisy_paper("optimizer=sam", "optimizer.rho=0.3")
    resumed, _ = fit(again, tmp_path, 2, tmp_path / "half.ckpt")
    for (name, value), expected in zip(again.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(value, expected), name
    states = [trainer.optimizers[0].state_dict()["parts"][0]["state"] for trainer in (resumed, finished)]
    for mine, theirs in zip(*(state.values() for state in states), strict=True):
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_the_climb_is_as_long_as_rho() -> None:
    parameters = [nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in ((3, 4), (5,))]
    for p in parameters:
        p.grad = torch.randn_like(p)
    here = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        climb(parameters, 0.7)
    moved = torch.cat([(p.detach() - w).flatten() for p, w in zip(parameters, here, strict=True)])
    gradient = torch.cat([p.grad.flatten() for p in parameters])
    torch.testing.assert_close(moved, 0.7 * gradient / gradient.norm())
    for p in parameters:
        p.grad.zero_()
    kept = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        climb(parameters, 0.7)
    assert all(torch.equal(p, w) for p, w in zip(parameters, kept, strict=True))


def test_of_equal_minima_it_takes_the_flattest() -> None:
    """x^2 (1 + y^2) / 2 is zero for x = 0 and any y, with the largest Hessian eigenvalue 1 + y^2."""
    eigenvalues = {}
    for rho in (0.0, 0.5):
        w = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
        optimizer = SAM([w], base=lambda params: torch.optim.SGD(params, lr=0.05), rho=rho)

        def closure(w: nn.Parameter = w, optimizer: SAM = optimizer) -> torch.Tensor:
            optimizer.zero_grad()
            loss = w[0].square() * (1 + w[1].square()) / 2
            loss.backward()
            return loss

        for _ in range(400):
            optimizer.step(closure)
        eigenvalues[rho] = 1 + w[1].item() ** 2
    assert eigenvalues[0.0] > 3
    assert eigenvalues[0.5] < 1.1


def test_weights_are_put_back_where_the_second_pass_fails() -> None:
    layer = nn.Linear(3, 1)
    optimizer = SAM(layer.parameters(), base=lambda params: torch.optim.SGD(params, lr=0.1), rho=0.1)
    before = [p.detach().clone() for p in layer.parameters()]
    passes = []

    def closure() -> torch.Tensor:
        passes.append(1)
        if len(passes) == 2:
            raise UserError("the loss became NaN")
        loss = layer(torch.ones(2, 3)).square().sum()
        loss.backward()
        return loss

    with pytest.raises(UserError, match="NaN"):
        optimizer.step(closure)
    assert all(torch.equal(p, w) for p, w in zip(layer.parameters(), before, strict=True))


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("trainer.accumulate_grad_batches=4", "SAM evaluates every batch twice.*use trainer.accumulate_grad_batches=1"),
        ("trainer.precision=16-mixed", "SAM cannot scale.*use trainer.precision=bf16-mixed"),
        ("optimizer.rho=-1.0", "rho=-1.0 must not be negative"),
    ],
)
def test_what_it_cannot_do_is_refused(override: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        noisy_paper("optimizer=sam", override)
    assert "\n" not in str(caught.value)


def test_a_step_without_a_closure_is_refused() -> None:
    with pytest.raises(UserError, match="needs a closure"):
        SAM([nn.Parameter(torch.ones(2))], base=torch.optim.Adam, rho=0.1).step()
