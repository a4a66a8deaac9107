"""From rows in memory to a fitted map: the start, the one loop, copies that ended apart, the resulting `Model`."""
