"""What a checkpoint file holds: clean tensors, perhaps a graph, and the doctor's note."""

from .load import Checkpoint, Note, load, refuse_nan

__all__ = ["Checkpoint", "Note", "load", "refuse_nan"]
