"""The process that fills orders."""

from mbt.services.engine.process import Engine, EngineAlreadyRunning

__all__ = ["Engine", "EngineAlreadyRunning"]
