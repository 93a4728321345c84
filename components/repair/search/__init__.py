"""Searches for the cheapest int8 form of a float model that keeps what the model knows."""
