"""Write deploy/kubernetes/*.yaml: what the Helm chart renders, for those who use no Helm.

.venv/bin/python scripts/render_manifests.py            write them
.venv/bin/python scripts/render_manifests.py --check    fail if they are not current
"""

from __future__ import annotations

import argparse
import base64
import sys
from pathlib import Path
from typing import Any

import helm_python
import yaml

_DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
CHART = _DEPLOY / "helm" / "ai-api-gateway"
FOLDER = _DEPLOY / "kubernetes"
_NAME = "ai-api-gateway"
# Labels that would say that Helm looks after the object.
_OF_HELM = ("helm.sh/chart", "app.kubernetes.io/managed-by")
# Needs the Prometheus Operator, so `kubectl apply -k` leaves it out.
_APART = "servicemonitor.yaml"
_SECRET = (
    "# Put your own secrets here before you apply it, or make the Secret by other means and leave this file out.\n"
)
_HEAD = "# Rendered from deploy/helm/ai-api-gateway with values.yaml beside this file: scripts/render_manifests.py\n"


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as one, for people."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def rendered(values: dict[str, Any], name: str = _NAME) -> dict[str, list[dict[str, Any]]]:
    """Return the objects that the chart makes of values, by the name of their template."""
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render(values, name=name, namespace="default")
    found: dict[str, list[dict[str, Any]]] = {}
    for path, text in files.items():
        objects = [each for each in yaml.safe_load_all(text) if each] if path.endswith(".yaml") else []
        if objects:
            found[path.split("/templates/")[1]] = objects
    return found


def manifests() -> dict[str, str]:
    """Return the text of each file of deploy/kubernetes by its name."""
    values = yaml.safe_load((FOLDER / "values.yaml").read_text())
    texts = {}
    for file, objects in rendered(values).items():
        if file.startswith("tests/"):
            continue
        for each in objects:
            _strip(each)
        text = yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False)
        texts[file] = _HEAD + (_SECRET if file == "secret.yaml" else "") + text
    listed = {"kind": "Kustomization", "apiVersion": "kustomize.config.k8s.io/v1beta1"}
    resources = sorted(file for file in texts if file != _APART)
    texts["kustomization.yaml"] = _HEAD + yaml.safe_dump({**listed, "resources": resources}, sort_keys=False)
    return texts


def _strip(node: Any) -> None:
    """Take away what only Helm means."""
    if isinstance(node, dict):
        for name in _OF_HELM:
            node.get("labels", {}).pop(name, None)
        node.get("metadata", {}).pop("namespace", None)
        if node.get("kind") == "Secret" and "data" in node:
            node["stringData"] = {key: base64.b64decode(text).decode() for key, text in node.pop("data").items()}
        for each in node.values():
            _strip(each)
    elif isinstance(node, list):
        for each in node:
            _strip(each)


def main() -> int:
    """Write them, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    texts = manifests()
    stale = [file for file, text in texts.items() if not _is(FOLDER / file, text)]
    left = [path.name for path in FOLDER.glob("*.yaml") if path.name not in {*texts, "values.yaml"}]
    if not check:
        for file in stale:
            (FOLDER / file).write_text(texts[file])
        for file in left:
            (FOLDER / file).unlink()
        return 0
    for file in (*stale, *left):
        print(f"deploy/kubernetes/{file} is not what the chart renders: scripts/render_manifests.py", file=sys.stderr)
    return 1 if stale or left else 0


def _is(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
