"""Who may say what to the fleet: keys, roles, and the signed metadata that carries their word."""
