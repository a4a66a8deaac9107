"""Programs that measure: scripts, each of which says what it does, and commands that run and record them."""
