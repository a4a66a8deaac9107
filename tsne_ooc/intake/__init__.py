"""What a fit takes of a table, and what it knows of its columns afterwards."""

from tsne_ooc.intake.features import Features
from tsne_ooc.intake.taking import Intake, Prepared, check_prepare, drawn, prepared, take_in, taken_over

__all__ = ["Features", "Intake", "Prepared", "check_prepare", "drawn", "prepared", "take_in", "taken_over"]
