"""Writes what the program of a target is made of, as a CycloneDX 1.5 document, from Cargo's own data.

usage: sbom.py TARGET FILE
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def main(target: str, file: str) -> None:
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    sums = {(package["name"], package["version"]): package.get("checksum") for package in lock}

    # What is needed to build and to run it; what only tests need is not part of it.
    used: dict[str, list[str]] = {}
    waiting = [root]
    while waiting:
        id = waiting.pop()
        if id not in used:
            kinds = [(dep["pkg"], {kind["kind"] for kind in dep["dep_kinds"]}) for dep in nodes[id]["deps"]]
            used[id] = sorted(other for other, of in kinds if of & {None, "build"})
            waiting += used[id]

    def component(id: str) -> dict[str, object]:
        package = packages[id]
        found: dict[str, object] = {
            "type": "application" if id == root else "library",
            "bom-ref": purl(package),
            "name": package["name"],
            "version": package["version"],
            "purl": purl(package),
        }
        if package["license"]:
            found["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        if package["repository"]:
            found["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
        digest = sums.get((package["name"], package["version"]))
        if digest:
            found["hashes"] = [{"alg": "SHA-256", "content": digest}]
        return found

    def purl(package: dict[str, str]) -> str:
        return f"pkg:cargo/{package['name']}@{package['version']}"

    order = sorted(used, key=lambda id: (packages[id]["name"], packages[id]["version"]))
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(root), "properties": [{"name": "cargo:target", "value": target}]},
        "components": [component(id) for id in order if id != root],
        "dependencies": [
            {"ref": purl(packages[id]), "dependsOn": [purl(packages[other]) for other in used[id]]} for id in order
        ],
    }
    Path(file).write_text(json.dumps(document, indent=1) + "\n")
    print(f"{file}: {len(used)} packages")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
