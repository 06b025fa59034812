#!/usr/bin/env bash
# Lints the chart, renders it with and without its options, and validates the results, and the manifests beside it, against
# the schemas of the last four Kubernetes minors. Needs helm; the schemas come with the Python package kubernetes-validate, and
# without it they are not checked.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
helm lint --strict helm/kenyon
helm template kenyon helm/kenyon --kube-version 1.34.0 > "$work/plain.yaml"
helm template kenyon helm/kenyon --kube-version 1.34.0 --set autoscaling.enabled=true,tlsSecret=certificate,networkPolicy.enabled=false \
  > "$work/options.yaml"
cp kubernetes/kenyon.yaml "$work/manifests.yaml"
if ! python3 -c 'import kubernetes_validate' 2>/dev/null; then
  echo "skipped the schemas: no kubernetes-validate here"
  exit 0
fi
python3 - "$work" <<'PY'
import pathlib
import sys

import kubernetes_validate
import yaml

newest = kubernetes_validate.latest_version()
major, minor = map(int, newest.split(".")[:2])
for file in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    documents = [document for document in yaml.safe_load_all(file.read_text()) if document]
    for version in (f"{major}.{minor - back}" for back in range(4)):
        for document in documents:
            kubernetes_validate.validate(document, version, strict=True)
        print(f"{file.name}: {len(documents)} objects are valid for {version}")
PY
