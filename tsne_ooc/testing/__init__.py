"""The promises of parts of tsne_ooc, as tests that the tests of your own part can inherit. They need pytest.

>>> from tsne_ooc.testing import IndexContract
>>> class TestMine(IndexContract):  # doctest: +SKIP
...     search = Mine()

pytest collects the class like any other, and runs each test of the contract on it. Where an ``assert`` should show what
it compared, a ``conftest.py`` says ``pytest.register_assert_rewrite("tsne_ooc.testing")`` before the import.
"""

from __future__ import annotations

from tsne_ooc.testing.affinities import AffinityContract as AffinityContract
from tsne_ooc.testing.neighbors import IndexContract as IndexContract
from tsne_ooc.testing.sources import SourceContract as SourceContract

__all__ = ["AffinityContract", "IndexContract", "SourceContract"]
