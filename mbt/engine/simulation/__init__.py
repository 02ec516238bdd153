"""Random weeks of life through the engine, with every invariant checked after every step. Pure, from a seed."""

from mbt.engine.simulation.invariants import Violation
from mbt.engine.simulation.operations import Operation, tell
from mbt.engine.simulation.run import Failure, Summary, simulate

__all__ = ["Failure", "Operation", "Summary", "Violation", "simulate", "tell"]
