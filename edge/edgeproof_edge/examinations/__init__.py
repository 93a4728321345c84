"""Everything that can be said about one .tflite file on this machine, by test or by estimate."""
