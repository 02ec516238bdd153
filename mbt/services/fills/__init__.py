"""What the engine decided becomes the record."""

from mbt.services.fills.booking import Applied, apply, note_nearest, settle

__all__ = ["Applied", "apply", "note_nearest", "settle"]
