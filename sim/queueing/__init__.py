"""Queueing networks at compiled speed: stations without any of the services' mechanisms.

For questions that need nothing else (how many cores, how many users), and as the yardstick of the
event loop: two engines that draw the same random numbers, numba kernels and SimPy, and theory beside
them.
"""

from sim.queueing.model import Closed, Discipline, Open, Result, Station, StationResult
from sim.queueing.run import simulate

__all__ = ["Closed", "Discipline", "Open", "Result", "Station", "StationResult", "simulate"]
