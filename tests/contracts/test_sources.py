"""Every kind of storage keeps the contract of sources."""

from __future__ import annotations

import pytest
from containers import ADAPTERS, Adapter

from tsne_ooc.testing import SourceContract


class TestSources(SourceContract):
    @pytest.fixture(params=ADAPTERS)
    def case(self, request: pytest.FixtureRequest) -> Adapter:
        found = ADAPTERS[request.param]
        if found.needs is not None:
            pytest.importorskip(found.needs)
        return found
