"""Deep image priors as Lightning modules: reconstruct an image from one measurement, without training data."""

__version__ = "0.1.0.dev0"
