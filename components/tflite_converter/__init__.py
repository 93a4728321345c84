"""SavedModel in, .tflite out: calibration, conversion in a child process, inspection of the bytes, a report."""
