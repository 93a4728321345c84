"""The verbs of the command line, one per file; heavy imports happen inside the functions."""
