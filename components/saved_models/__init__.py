"""SavedModels: what their files say without TensorFlow, and the float model that they hold."""
