"""Brings the release that a channel offers now into a run, as a model to compare with."""
