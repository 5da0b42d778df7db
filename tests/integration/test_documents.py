"""Every block marked ``sh`` in README.md and docs/how-to is run, in a sourced shell on an empty plane."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from integration.dev_plane import ROOT, DevPlane

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_its_examples_work(new_plane: Callable[..., DevPlane], document: object) -> None:
    """All blocks of a page together are a script that ends well; a line that begins with ``!`` must fail."""
    text = document.read_text()  # type: ignore[attr-defined]
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert blocks, "a page of steps without a step"
    # `! command` is exempt from -e whatever it answers, so it is spelled out as what it means.
    script = re.sub(r"^! (.*)$", r"if \1; then exit 99; fi", "\n".join(blocks), flags=re.MULTILINE)
    done = new_plane().start().shell("bash", "-euo", "pipefail", "-c", script, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
