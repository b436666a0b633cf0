"""Training a compact encoder to see as VGG-19 does."""
