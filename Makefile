# Every target makes .venv first (constraints/bootstrap.py; a tenth of a second when it is already there).
# Needs: python3 with pip, g++, make. EDGEPROOF_STACK=tfx116|tfx121 overrides the choice of libraries.

PYTHON ?= python3
BIN := .venv/bin
ALL_TIERS := not exhaustive and not flink and not images and not android and not kfp
# TensorFlow takes about 1.5 GB per process, so more is not always faster.
WORKERS ?= 2
SIDE_BY_SIDE = -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

.PHONY: help venv demo test test-exhaustive test-fast lint test-newest test-kfp test-flink test-images test-pipeline-image test-android test-arm constraints clean

help:  ## this list
	@$(PYTHON) -c "import re; [print(f'make {m[1]:<19} {m[2]}') for m in re.finditer(r'^([a-z-]+):.*?## (.*)$$', open('Makefile').read(), re.M)]"

venv:  ## choose the stack and install it into .venv
	@$(PYTHON) constraints/bootstrap.py

demo: venv  ## the whole chain on the embedded digits, to a published release
	@$(BIN)/edgeproof demo

test: venv  ## default tier, one executor each (tfx), the runs that people make first (e2e)
	$(BIN)/python -m pytest -m "$(ALL_TIERS)" $(SIDE_BY_SIDE)

test-exhaustive: venv  ## runs of every kind, every model that int8 ruins, a kill at every operation; half an hour
	$(BIN)/python -m pytest -m exhaustive $(SIDE_BY_SIDE)

test-fast: venv  ## the default tier only: no TensorFlow, seconds
	$(BIN)/python -m pytest

lint: venv  ## ruff (rules and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-newest:  ## test and demo on the newest stack, in a Debian 13 root (needs root; says so and goes on without)
	@constraints/test-newest

test-kfp: venv  ## what is compiled for Kubeflow, against its own SDK and Kubernetes' schemas (says so where it cannot be installed)
	@constraints/test-kfp

test-images: venv  ## build and run the images of the gateway and the telemetry service (needs root; says so and goes on without)
	$(BIN)/python -m pytest -m images -rs tests/images --ignore tests/images/test_pipeline.py

test-pipeline-image: venv  ## the same with the pipeline's image and its demo; 4 GB, a quarter of an hour
	$(BIN)/python -m pytest -m images -rs tests/images/test_pipeline.py

test-android: venv  ## build edge/android and hold its numbers against NumPy's (needs Maven and Java; says so and goes on without)
	$(BIN)/python -m pytest -m android -rs tests/android

test-flink: venv  ## the steps that stream the data on a stand-alone Flink (Java 17, Maven; says so and goes on without)
	@constraints/test-flink

test-arm: venv  ## the device's wheel on emulated 64-bit and 32-bit ARM, every golden vector (needs root; says so and goes on without)
	@constraints/test-arm

constraints:  ## resolve both stacks again into constraints/*.txt (UPGRADE=--upgrade for newer versions)
	@$(PYTHON) constraints/recompile.py $(UPGRADE)

clean:  ## remove .venv, .tools and what runs leave in the checkout
	rm -rf .venv .tools .edgeproof .pytest_cache .mypy_cache .ruff_cache
