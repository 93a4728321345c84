"""Config, the DAG on one screen, preflight checks, the local runner and the command line."""
