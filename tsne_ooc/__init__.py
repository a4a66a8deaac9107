"""t-SNE maps of data larger than memory, on the machine you have."""

__version__ = "0.1.0"
