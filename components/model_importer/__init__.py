"""Brings a team's own SavedModel into a run."""
