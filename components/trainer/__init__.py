"""Trains a user's model in float and exports it with the signatures that the rest of the pipeline reads."""
