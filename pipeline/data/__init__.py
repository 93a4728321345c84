"""The data that a configuration names: which files they are, how a run reads them, what is wrong with them before training."""
