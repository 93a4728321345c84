"""TensorFlow Model Analysis beside the gate: its metrics on the predictions that the gate counts, and results that it reads."""
