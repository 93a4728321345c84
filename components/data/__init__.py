"""How data becomes rows: record files, the description of an example, and where rows come from outside a pipeline."""
