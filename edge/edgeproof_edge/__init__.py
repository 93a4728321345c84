"""What runs on a device: reads, checks and runs TFLite models with the numerics that the gate judged. No TensorFlow."""

__version__ = "0.1.0"
