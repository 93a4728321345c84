#!/usr/bin/env bash
# Every night at 03:00 by UTC, on the server of this cluster (kubectl -n kubeflow port-forward svc/ml-pipeline 8888). Calling it again changes
# the schedule, it does not add one; --check ends with 1 where it is listed and has not fired.
set -euo pipefail
config=${1:-config.yaml}
host=${2:-http://localhost:8888}
edgeproof kubeflow schedule "$config" --cron '0 3 * * *' --host "$host"
edgeproof kubeflow schedule "$config" --check --host "$host"
