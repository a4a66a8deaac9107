"""Decoders of a training, piece by piece."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from small_parts import N, X, fresh, options, problem, torch

from tsne_ooc._parallel import Threads
from tsne_ooc.io import as_source
from tsne_ooc.parametric import Decoder, reconstruction
from tsne_ooc.parametric.decoder import LEAST_SPREAD, RADIUS, DecoderNetwork, errors
from tsne_ooc.parametric.network import Encoder, ResidualNetwork
from tsne_ooc.parametric.reconstruction import Reconstruction, train_decoder
from tsne_ooc.parametric.tiles import encode


def decoder_behind(monkeypatch, held=(), learns=False, **more):
    """A decoder that is hardly trained, if at all, and what its training was asked for."""
    asked = []

    def learn(network, problem, batches, held, options, *, validation, checkpoint):
        asked.append((network, problem, batches, held, options, validation, checkpoint))
        if learns:
            with torch.no_grad():
                network.body.head.weight.fill_(0.1)
                network.body.skip.weight[:3, :2] = torch.tensor([[0.5, 0], [0, -0.2], [1.5, 0.1]])
        return "done"

    monkeypatch.setattr(reconstruction, "learn", learn)
    table = np.column_stack([X, np.full(N, 7, np.float32)])
    encoder = Encoder(torch.nn.Linear(4, 2), np.zeros(4), np.ones(4), np.ones(2), 5.0)
    given = problem(held=np.array(held, np.int64), seed=3)
    loop = options(patience=4, callbacks=[print], callbacks_every=9, look_every=7, verbose=True, **more)
    asking = Decoder((16, 1), n_iter=33, learning_rate=0.25)
    found = train_decoder(asking, encoder, as_source(table), "batches", given, loop, checkpoint="kept")
    return found, encoder, table, given, *asked


@pytest.mark.parametrize("held", [(), (3, 8, 40)], ids=["none", "some"])
def test_a_decoder_is_trained_as_its_encoder_was_but_for_its_own_options(held, monkeypatch):
    found, encoder, table, given, (network, told, batches, out, asked, look, kept) = decoder_behind(monkeypatch, held)
    assert (batches, kept, told, found.done) == ("batches", "kept", given, "done") and found.network is network
    assert out.dtype == bool and np.flatnonzero(out).tolist() == list(held) and len(out) == N
    ((objective, share, rate),) = asked.stages
    assert (share, rate, objective.encoder, objective.variational) == (1, 1, encoder, False)
    assert (asked.steps, asked.learning_rate, asked.callbacks, asked.title) == (33, 0.25, [], "decoder")
    assert asked.patience == (4 if held else None)
    assert (asked.look_every, asked.callbacks_every, asked.verbose) == (7, 9, True)
    if held:
        np.testing.assert_array_equal(look.rows, table[list(held)])
        np.testing.assert_array_equal(look.places, encode(encoder, table[list(held)], 2, Threads(1)))
        assert look.threads is given.threads
    else:
        assert look is None
    # In the units of the encoder's map, and of the table's columns.
    assert network.origin.tolist() == [1, 1] and float(network.width) == 5 and (network.p, network.d) == (4, 2)
    np.testing.assert_allclose(network.center.numpy(), table.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(network.scale.numpy()[:3], 1 / table.std(axis=0)[:3], rtol=1e-5)
    assert network.scale.numpy()[3] == 0


@pytest.mark.parametrize("learns", [False, True])
def test_what_a_decoder_leaves_is_measured_column_by_column(learns, monkeypatch):
    """A column that it tells exactly counts as if a little were left, and so does one that does not vary."""
    found, encoder, table, *_ = decoder_behind(monkeypatch, learns=learns)
    network = found.network
    back = encode(network, encode(encoder, table, 2, Threads(1)), 4, Threads(1)).astype(float)
    left = np.sqrt(np.square((back - table) * network.scale.numpy()).mean(axis=0))
    if learns:
        assert (np.abs(left[:3] - 1) > 1e-3).all()
    else:
        # It has not learnt anything, and gives the mean row.
        np.testing.assert_allclose(left[:3], 1, rtol=1e-5)
    np.testing.assert_allclose(network.spread.numpy(), np.maximum(left, LEAST_SPREAD), rtol=1e-5)
    assert network.spread.numpy()[3] == np.float32(LEAST_SPREAD) and network.center.device.type == "cpu"


def saying(d, p, scale=1.0):
    """A decoder that says something, in other units than those of its network."""
    rng = np.random.default_rng(0)
    network = DecoderNetwork(p, d, 16, 1).begin(rng.normal(size=d), 3.0, rng.normal(size=p), np.full(p, scale), rng)
    with torch.no_grad():
        for layer in (network.body.head, network.body.skip):
            layer.weight.copy_(torch.from_numpy(rng.normal(size=tuple(layer.weight.shape)).astype(np.float32)))
    return network


@pytest.mark.parametrize("d", [1, 2, 3, 16])
@pytest.mark.parametrize("p", [1, 16, 17])
def test_a_decoder_sees_its_places_and_all_waves_and_gives_all_columns(d, p):
    """In layers that are filled up to sixteens, and no wider."""
    network = saying(d, p)
    seen = d + 2 * network.waves.shape[1]
    assert seen <= network.body.p < seen + 16 and p <= network.body.d < p + 16
    assert network.body.p % 16 == network.body.d % 16 == 0 and network.waves.shape[0] == d
    places = torch.from_numpy(np.random.default_rng(1).normal(size=(9, d)).astype(np.float32))
    with torch.no_grad():
        phase = places @ network.waves
        whole = torch.cat([places, phase.sin(), phase.cos(), torch.zeros(9, network.body.p - seen)], dim=1)
        torch.testing.assert_close(network.standardised(places), network.body(whole)[:, :p])
        assert network.standardised(places).shape == (9, p)
        # The last of the waves counts, too.
        other = network.standardised(places)
        network.waves[:, -1] += 1
        assert not torch.allclose(other, network.standardised(places))


def test_a_row_that_is_decoded_is_in_the_units_of_the_table():
    """A column that does not vary is its mean; a place is measured in widths of the map, from its middle."""
    network = saying(2, 5)
    network.scale.copy_(torch.tensor([0.25, 0, 1, 4, 1e-30]))
    places = torch.from_numpy(np.random.default_rng(1).normal(size=(9, 2)).astype(np.float32))
    with torch.no_grad():
        torch.testing.assert_close(network.relative(places), (places - network.origin) / 3)
        inside = network.standardised((places - network.origin) / 3).double()
        found = network(places)
    wanted = network.center.double() + inside / torch.tensor([0.25, 1, 1, 4, 1e-30], dtype=torch.float64)
    wanted[:, 1] = network.center[1]
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-5)
    assert (found[:, 1] == network.center[1]).all() and (inside[:, 1] != 0).all()


def test_a_decoder_that_has_not_begun_changes_no_units():
    """Neither those of places nor those of rows; errors are plain, and the radius is the one that it begins with."""
    network = DecoderNetwork(3, 2, 16, 0)
    places = torch.from_numpy(np.random.default_rng(1).normal(size=(9, 2)).astype(np.float32))
    with torch.no_grad():
        assert torch.equal(network.relative(places), places)
        torch.testing.assert_close(network(places), network.standardised(places))
    rows = np.random.default_rng(2).normal(size=(9, 3)).astype(np.float32)
    np.testing.assert_allclose(errors(network, rows, 0 * rows), np.square(rows).mean(axis=1), rtol=1e-6)
    assert float(network.radius.detach()) == pytest.approx(RADIUS) and not network.waves.any()


def test_networks_are_of_single_precision_whatever_torch_is_set_to():
    torch.set_default_dtype(torch.float64)
    try:
        made = DecoderNetwork(3, 2, 16, 1), ResidualNetwork(16, 2, 16, 1, 16, 4.0), fresh()
        bounded = Encoder(ResidualNetwork(16, 2, 16, 0), np.zeros(3), np.ones(3), np.zeros(2), 1.0, True)
    finally:
        torch.set_default_dtype(torch.float32)
    for network in (*made[:2], bounded):
        assert {value.dtype for value in network.state_dict().values()} == {torch.float32}
    # A network of ones own is what it is, between units that are ours.
    assert {name: value.dtype for name, value in made[2].state_dict().items() if "body" not in name} == dict.fromkeys(
        ("center", "scale", "origin", "width"), torch.float32
    )


def test_a_column_that_does_not_vary_is_within_the_evidence_bound():
    """Its residual is nothing, of which there is no logarithm: a little is added to all mean squares."""
    network = DecoderNetwork(3, 2, 16, 0).begin(
        np.zeros(2), 5.0, np.zeros(3), np.array([1.0, 0, 0.5]), np.random.default_rng(0)
    )
    batch = SimpleNamespace(step=2, X=torch.from_numpy(X))
    loss = Reconstruction(lambda rows: rows[:, :2], True).of(SimpleNamespace(seed=7))
    left = np.square(X * [1, 0, 0.5]).mean(axis=0)
    radius = float(network.radius.detach())
    wanted = (np.log(left + 1e-4).sum() / 2 + 2 * (radius**2 / 2 - math.log(radius))) / 3
    assert float(loss.loss(network, batch).detach()) == pytest.approx(wanted, rel=1e-4)


def test_small_spreads_of_small_columns_are_within_what_numbers_hold():
    one = SimpleNamespace(scale=torch.tensor([1e38]), spread=torch.tensor([0.03]))
    found = errors(one, np.array([[1e-38], [0]], np.float32), np.zeros((2, 1), np.float32))
    np.testing.assert_allclose(found, [1 / 0.03**2, 0], rtol=1e-4)


@pytest.mark.parametrize(
    ("network", "kind", "says"),
    [
        ((20, 1), ValueError, "network width 20 must be a multiple of 16"),
        ((0, 1), ValueError, "network width=0 must be at least 1"),
        ((16, -1), ValueError, "network depth=-1 must be at least 0"),
        ((16,), TypeError, "network=(16,) is neither (width, depth) nor a torch.nn.Module"),
        (16, TypeError, "network=16 is neither (width, depth) nor a torch.nn.Module"),
    ],
)
def test_networks_that_no_decoder_can_have(network, kind, says):
    with pytest.raises(kind) as told:
        Decoder(network)
    assert str(told.value).startswith(says)
