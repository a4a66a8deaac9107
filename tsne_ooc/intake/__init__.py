"""What a fit takes from a table, and what it knows about the table's columns afterwards."""

from tsne_ooc.intake.features import Features
from tsne_ooc.intake.taking import (
    Intake,
    Prepared,
    check_no_row_dropped,
    check_prepare,
    drawn,
    prepared,
    take_in,
    taken_over,
    with_gaps_kept,
)

__all__ = [
    "Features",
    "Intake",
    "Prepared",
    "check_no_row_dropped",
    "check_prepare",
    "drawn",
    "prepared",
    "take_in",
    "taken_over",
    "with_gaps_kept",
]
