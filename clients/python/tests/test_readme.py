"""The README's blocks run as they are written, one after the other, against the server of the tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from conftest import flowers
from kenyon import Client, LocalServer

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.usefixtures("runs")
def test_the_blocks_of_the_readme_run(server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 3
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KENYON_SERVER", server.url)
    frame = flowers()
    names: dict[str, Any] = {
        "frame": frame,
        "labels": frame["species"],
        "new_frame": flowers(5, seed=1),
        "test_frame": flowers(30, seed=2),
        "labelled_frame": flowers(30, seed=3),
    }
    # The address of a server that nobody has started: the one of the tests is in the environment.
    for block in blocks:
        exec(block.replace('"http://127.0.0.1:8080", key="…"', ""), names)
    assert isinstance(names["client"], Client) and (tmp_path / "iris.kenyon").exists()
