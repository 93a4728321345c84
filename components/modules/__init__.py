"""Python modules, the user's and ours: how they are loaded, and which files they reach."""
