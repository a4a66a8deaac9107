"""Maps that are functions: encoders that learn where t-SNE puts rows (an optional part, which needs PyTorch).

>>> from tsne_ooc.parametric import ParametricTSNE
>>> model = ParametricTSNE(random_state=0).fit(h5_file["X"])  # doctest: +SKIP
>>> Y = model.transform(new_rows)  # doctest: +SKIP
"""

from __future__ import annotations

from tsne_ooc.io import optional

optional.load("torch", "neural", "tsne_ooc.parametric")

from tsne_ooc.parametric import objectives  # noqa: E402
from tsne_ooc.parametric.decoder import Decoder  # noqa: E402
from tsne_ooc.parametric.estimator import ParametricTSNE  # noqa: E402
from tsne_ooc.parametric.loading import load  # noqa: E402
from tsne_ooc.parametric.objectives import Stage  # noqa: E402

__all__ = ["Decoder", "ParametricTSNE", "Stage", "load", "objectives"]
