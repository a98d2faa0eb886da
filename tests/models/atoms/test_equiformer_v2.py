"""What makes EquiformerV2 (arXiv:2306.12059) that paper."""

import logging

import pytest
import torch
from models.atoms.so3_networks import S2EF, batch, paper
from synthetic import unit_statistics

from erlangen.models.atoms.equiformer_v2 import EquiformerV2
from erlangen.nn.so2_layers import orders_of
from erlangen.runs.assemble import build_paper
from erlangen.runs.config import compose_config, resolved
from erlangen.tasks.regression import Regression

PUBLISHED = {
    ("equiformer_v2_31m",): (31.06e6, 31_058_690),
    ("equiformer_v2_83m",): (83.16e6, 83_164_802),
    ("equiformer_v2_153m",): (153.60e6, 153_602_690),
    ("equiformer_v2_83m", "model.lmax=4"): (44.83e6, 44_826_882),
    ("equiformer_v2_83m", "model.lmax=8"): (134.28e6, 134_282_242),
}
"""Parameters as printed in the paper (tables 1 and 2), and as counted here; nothing is left out."""


def on_meta(model: str, *overrides: str) -> torch.nn.Module:
    config = resolved(*compose_config([f"model={model}", *overrides]))
    with torch.device("meta"):
        return build_paper(config, S2EF).network


@pytest.mark.parametrize("choice", PUBLISHED, ids=" ".join)
def test_published_sizes(choice: tuple[str, ...]) -> None:
    printed, counted = PUBLISHED[choice]
    parameters = sum(p.numel() for p in on_meta(*choice).parameters())
    assert parameters == counted
    assert abs(parameters / printed - 1) < 1e-3


def test_the_energy_head_learns_by_its_scalar_branch_alone() -> None:
    """The other parameters of that head are part of the published counts and never move: 0.13M of 31M, 0.16M of 83M."""
    network = paper("equiformer_v2", activation="s2").network.train()
    network(batch(2))["energy"].sum().backward()
    head = network.energy
    assert head.scalars.weight.grad.abs().max() > 0
    assert head.linear_out.weight.grad[0].abs().max() > 0
    idle = [head.linear_in.weight, head.linear_in.bias, *(layer.weight for layer in head.grid)]
    assert all(p.grad.abs().max() == 0 for p in idle)
    for model, count in {"equiformer_v2_31m": 0.131e6, "equiformer_v2_83m": 0.165e6}.items():
        head = on_meta(model).energy
        idle = [head.linear_in.weight, head.linear_in.bias, *(layer.weight for layer in head.grid)]
        assert abs(sum(p.numel() for p in idle) / count - 1) < 0.01


def test_attention_is_the_papers_edge_by_edge() -> None:
    """In a loop over nodes and their edges, with the very modules of the layer and explicit matrices D."""
    network = paper("equiformer_v2", activation="gate").network
    layer, graph = network.blocks[0].attention, batch(1)
    edges = network.frames(graph)
    basis = network.basis(edges.distance)
    g = torch.Generator().manual_seed(0)
    x = torch.randn(len(graph.z), 9, 8, generator=g, dtype=torch.float64)
    found = layer(x, basis, graph.z - 1, edges)
    kept = [0, 2, 6, 3, 7, 1, 5]  # lmax = 2, mmax = 1: m = 0 of l = 0, 1, 2, then +1 and -1 of l = 1, 2
    gain = torch.tensor([1, *[1] * 3, *[5 / 3] * 5], dtype=torch.float64).sqrt()[:, None]
    radial = layer.radial(basis, graph.z - 1, edges.index).unflatten(1, (5, 16))
    for node in range(len(x)):
        logits, values = [], []
        for e in (edges.index[1] == node).nonzero().flatten().tolist():
            D = torch.block_diag(*(block.view(2 * n + 1, -1) for n, block in enumerate(edges.D[e].split([1, 9, 25]))))
            both = torch.cat([D @ x[edges.index[0, e]], D @ x[node]], 1)[kept]
            invariants, message = layer.first(orders_of((both * radial[e][[0, 1, 2, 3, 4, 3, 4]])[None], 2, 1))
            alpha, gates = invariants.split(layer.invariants, 1)
            _, value = layer.second(orders_of(layer.activation(message, gates), 2, 1))
            full = torch.zeros(9, value.shape[2], dtype=torch.float64)
            full[kept] = value[0]
            values.append(D.T @ full)
            f = torch.nn.functional.layer_norm(alpha.view(2, 4), (4,), layer.alpha_norm.weight, layer.alpha_norm.bias)
            leaky = 0.6 * f + 0.4 * f * (2 * torch.sigmoid(f) - 1)
            logits.append((leaky * layer.alpha_dot).sum(1))
        weight = torch.stack(logits).softmax(0)
        total = torch.einsum("eh,ekhv->khv", weight, torch.stack(values).unflatten(2, (2, 4))).flatten(1) * gain
        torch.testing.assert_close(found[node], layer.out(total[None])[0], rtol=1e-9, atol=1e-10)


def test_selfmix_adds_its_layer_to_every_block_and_nothing_else() -> None:
    """With the new weights at zero it is the plain network, which has no trace of the option."""
    plain, mixed = paper("equiformer_v2"), paper("equiformer_v2", selfmix="true")
    names = set(plain.state_dict())
    added = set(mixed.state_dict()) - names
    assert names < set(mixed.state_dict())
    assert {name.split(".selfmix.")[0] for name in added} == {"network.blocks.0", "network.blocks.1"}
    mixed.load_state_dict(plain.state_dict(), strict=False)
    assert not torch.allclose(mixed(batch(2))["energy"], plain(batch(2))["energy"])
    with torch.no_grad():
        for block in mixed.network.blocks:
            block.selfmix[1].out.zero_()
    for name, value in plain(batch(2)).items():
        assert torch.equal(mixed(batch(2))[name], value)


def test_selfmix_stands_between_attention_and_feed_forward_network() -> None:
    block = paper("equiformer_v2_selfmix").network.blocks[0]
    seen = []
    for name in ("attention", "selfmix", "ffn"):
        getattr(block, name).register_forward_hook(lambda *_, name=name: seen.append(name))
    network = paper("equiformer_v2_selfmix").network
    network.blocks = torch.nn.ModuleList([block])
    network(batch(1))
    assert seen == ["attention", "selfmix", "ffn"]


def test_without_selfmix_the_start_is_what_it_was() -> None:
    """The parameters that seed 1 drew before there was the option."""
    sizes = {"layers": 3, "hidden_channels": 32, "alpha_channels": 16, "radial_basis": 128, "resolution": 10}
    options = ["model=equiformer_v2", "kernels=reference", *(f"model.{key}={value}" for key, value in sizes.items())]
    built = build_paper(resolved(*compose_config(options)), S2EF)
    total = sum(p.double().abs().sum().item() for p in built.parameters())
    assert sum(p.numel() for p in built.parameters()) == 479_714
    assert total == pytest.approx(25674.875317624756, rel=1e-9)


def test_attention_weights_are_dropped_in_training_only() -> None:
    network = paper("equiformer_v2", alpha_drop=0.5)
    assert torch.equal(network(batch(2))["energy"], network(batch(2))["energy"])
    network.train()
    assert not torch.equal(network(batch(2))["energy"], network(batch(2))["energy"])


def test_model_equiformer_says_what_it_is(caplog: pytest.LogCaptureFixture) -> None:
    built = paper("equiformer")
    with caplog.at_level(logging.WARNING, "erlangen"):
        built.prepare(Regression(S2EF, dict), unit_statistics(S2EF), list)
    assert isinstance(built, EquiformerV2)
    assert "EquiformerV2" in caplog.text


def test_norms_embeddings_and_biases_have_no_axis_to_decay() -> None:
    """Weight decay holds for matrices alone, as in the authors' code; a norm's weights for all degrees are flat."""
    network = on_meta("equiformer_v2")
    flat = [name for name, p in network.named_parameters() if p.ndim < 2]
    assert any(name.endswith("attention_norm.weight") for name in flat)
    assert not any(name.endswith(("linear_in.weight", "alpha_dot")) for name in flat)
