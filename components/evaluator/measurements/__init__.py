"""How examples are measured: one class per kind."""
