"""Runs both models on the same rows, and remembers of them what the report and devices need."""
