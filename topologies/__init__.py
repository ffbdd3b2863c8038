"""What exists: sites, links, services and client populations, and how to write them down."""

from topologies.errors import InputError, Problem
from topologies.loader import library, load
from topologies.model import Topology

__all__ = ["InputError", "Problem", "Topology", "library", "load"]
