"""Faultline: predict an outage, cause it, measure it, and keep score of the prediction."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("faultline")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
