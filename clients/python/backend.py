"""Build backend of the wheel: maturin compiles the program into it, unless KENYON_BINARY names one that is there already.

    pip install ./clients/python                                        # compiles: needs Rust and a C compiler
    KENYON_BINARY=target/release/kenyon pip install ./clients/python    # only packs
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import sysconfig
import tomllib
import zipfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MATURIN = "maturin>=1.7,<2"

Config = dict[str, Any] | None


def get_requires_for_build_wheel(config_settings: Config = None) -> list[str]:
    """What a wheel needs to be built."""
    return [] if _binary() else [MATURIN]


def get_requires_for_build_editable(config_settings: Config = None) -> list[str]:
    """What an editable install needs to be built."""
    return [MATURIN]


def get_requires_for_build_sdist(config_settings: Config = None) -> list[str]:
    """What a source archive needs to be built."""
    return [MATURIN]


def build_wheel(wheel_directory: str, config_settings: Config = None, metadata_directory: str | None = None) -> str:
    """Makes the wheel and gives its name."""
    binary = _binary()
    if binary is None:
        import maturin

        return str(maturin.build_wheel(wheel_directory, config_settings, metadata_directory))
    return _pack(Path(wheel_directory), binary)


def build_editable(wheel_directory: str, config_settings: Config = None, metadata_directory: str | None = None) -> str:
    """Makes a wheel that points here."""
    import maturin

    return str(maturin.build_editable(wheel_directory, config_settings, metadata_directory))


def build_sdist(sdist_directory: str, config_settings: Config = None) -> str:
    """Makes a source archive."""
    import maturin

    return str(maturin.build_sdist(sdist_directory, config_settings))


def _binary() -> Path | None:
    named = os.environ.get("KENYON_BINARY")
    if not named:
        return None
    # A build may run in a copy of the folder, where a path from elsewhere means something else.
    path = Path(named)
    if not path.is_absolute() or not os.access(path, os.X_OK):
        raise SystemExit(f"KENYON_BINARY must be the absolute path of a program, and is {named}")
    return path


def _pack(folder: Path, binary: Path) -> str:
    """A wheel of the Python sources and a program."""
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
    tag = f"py3-none-{re.sub(r'[-.]', '_', sysconfig.get_platform())}"
    info, data = f"kenyon-{version}.dist-info", f"kenyon-{version}.data"
    name = f"kenyon-{version}-{tag}.whl"
    files: dict[str, bytes] = {}
    for path in sorted((HERE / "src").rglob("*")):
        if path.suffix in (".py", ".typed"):
            files[path.relative_to(HERE / "src").as_posix()] = path.read_bytes()
    files[f"{data}/scripts/kenyon"] = binary.read_bytes()
    files[f"{info}/METADATA"] = _metadata(project, version).encode()
    files[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: kenyon\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()
    files[f"{info}/licenses/LICENSE"] = (ROOT / "LICENSE").read_bytes()
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as wheel:
        record = ""
        for path_in_wheel, content in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record += f"{path_in_wheel},sha256={digest},{len(content)}\n"
            _write(wheel, path_in_wheel, content)
        _write(wheel, f"{info}/RECORD", f"{record}{info}/RECORD,,\n".encode())
    return name


def _write(wheel: zipfile.ZipFile, path: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0))
    entry.external_attr = (0o100755 if path.endswith("/scripts/kenyon") else 0o100644) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    wheel.writestr(entry, content)


def _metadata(project: dict[str, Any], version: str) -> str:
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {version}",
        f"Summary: {project['description']}",
        f"License-Expression: {project['license']}",
        "License-File: LICENSE",
        f"Requires-Python: {project['requires-python']}",
        f"Keywords: {','.join(project['keywords'])}",
        *(f"Classifier: {classifier}" for classifier in project["classifiers"]),
        *(f"Requires-Dist: {requirement}" for requirement in project["dependencies"]),
    ]
    for extra, requirements in project["optional-dependencies"].items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f'Requires-Dist: {requirement} ; extra == "{extra}"' for requirement in requirements]
    lines.append("Description-Content-Type: text/markdown")
    return "\n".join(lines) + "\n\n" + (HERE / "README.md").read_text()
