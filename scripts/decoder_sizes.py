"""How large the small decoders are: as they are in tests/data/decoders/, or so much
larger that rows fill the blocks of quantised types (`make_mixed_models.py`). Heads keep
their size and become more."""

# Set before anything that reads sizes is imported.
SCALE = 1


def feed_width(size):
    """The width of a feed-forward layer or of an expert."""
    return size if SCALE == 1 else 256
