"""Finds out why a model loses accuracy as int8, and repairs the float graph it is quantized from."""
