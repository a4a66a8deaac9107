"""How good a map is: measures that run on millions of rows, because they look at a sample of these.

Each takes ``sample``, the number of rows looked at (None: all of them), and ``random_state``. A sampled row
is always compared with *all* rows, so the sample adds noise of order ``sample ** -0.5`` but no bias. No
single number says whether a map is good: the divergence rewards maps that are spread thin, recall sees only small
neighbourhoods, the correlation of distances only the large picture, and label accuracy only what the labels
tell.
"""

from tsne_ooc.metrics.agreement import displacement, distance_correlation, kl_divergence
from tsne_ooc.metrics.neighborhoods import label_accuracy, neighbor_recall, trustworthiness

__all__ = [
    "displacement",
    "distance_correlation",
    "kl_divergence",
    "label_accuracy",
    "neighbor_recall",
    "trustworthiness",
]
