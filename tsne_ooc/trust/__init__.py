"""How far to trust the place of each row: are its neighbours kept, and is the place forced or chosen?"""

from tsne_ooc.trust.scoring import Scores, scores

__all__ = ["Scores", "scores"]
