"""Scores the float SavedModel and the exact .tflite bytes on the whole holdout: may these bytes ship?"""
