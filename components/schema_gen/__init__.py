"""Writes the feature schema that the config describes, for the steps that hold data against it."""
