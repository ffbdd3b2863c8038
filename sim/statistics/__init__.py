"""From replications to statements: where the mean is, and where one run will fall.

Two intervals, never confused. The *confidence* interval says where the mean over many runs is;
it shrinks with replications. The *prediction* interval says where one run of this length will
fall: it holds the spread between runs and the uncertainty of the calibrated parameters, and
does not shrink.
"""

from sim.statistics.intervals import (
    BOUNDS,
    CONFIDENCE_LEVEL,
    PREDICTION_LEVEL,
    Bounds,
    band,
    confidence_interval,
    median,
    prediction_interval,
    proportion,
    quantile_interval,
)
from sim.statistics.paired import PairedDifference, paired_difference
from sim.statistics.precision import Achieved, Precision, achieved, replications_needed
from sim.statistics.series import BatchMeans, batch_means, mser

__all__ = [
    "BOUNDS",
    "CONFIDENCE_LEVEL",
    "PREDICTION_LEVEL",
    "Achieved",
    "BatchMeans",
    "Bounds",
    "PairedDifference",
    "Precision",
    "achieved",
    "band",
    "batch_means",
    "confidence_interval",
    "median",
    "mser",
    "paired_difference",
    "prediction_interval",
    "proportion",
    "quantile_interval",
    "replications_needed",
]
