"""What the engine decided becomes the record."""

from mbt.services.fills.booking import Applied, note_nearest, settle
from mbt.services.fills.isolation import apply, isolated, take_back

__all__ = ["Applied", "apply", "isolated", "note_nearest", "settle", "take_back"]
