"""Configs and model modules to start from."""
