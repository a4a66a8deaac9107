"""Every affinity keeps the contract, whatever it is made of."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tsne_ooc import FixedSigma, Mixture, Multiscale, Perplexity, Uniform
from tsne_ooc.testing import AffinityContract

AFFINITIES = {
    "perplexity": Perplexity(),
    "perplexity-3": Perplexity(3),
    "multiscale": Multiscale((5, 30)),
    "mixture": Mixture((5, 30)),
    "uniform": Uniform(12),
    "fixed-sigma": FixedSigma(2.0),
}


class TestAffinities(AffinityContract):
    @pytest.fixture(params=AFFINITIES)
    def case(self, request):
        return SimpleNamespace(affinity=AFFINITIES[request.param])
