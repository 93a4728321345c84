"""The rules of the gate: what is measured goes in, a verdict with its reasons comes out."""
