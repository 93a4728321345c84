"""Kubeflow Pipelines: the pipeline as its YAML, the door of a pod, schedules and runs over its API."""
