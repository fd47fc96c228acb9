"""The Containerfile, and the builder's reading of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from containers.containerfile import Recipe, read_recipe


def test_instructions_become_settings() -> None:
    text = '# text\nFROM scratch\nARG V\nADD a.tar /\nADD b.tar /\nLABEL version=${V} title="a b"\nENV A=1 B=2\nUSER 5:6\nCMD ["x"]\n'
    settings = {"Labels": {"version": "1", "title": "a b"}, "Env": ["A=1", "B=2"], "User": "5:6", "Cmd": ["x"]}
    assert read_recipe(text, {"V": "1"}) == Recipe(["a.tar", "b.tar"], settings)


@pytest.mark.parametrize("line", ["RUN true", "FROM debian", "ADD a.txt /", "ARG OTHER", "COPY . /"])
def test_other_instructions_are_refused(line: str) -> None:
    with pytest.raises(ValueError, match=line):
        read_recipe(f"FROM scratch\n{line}\n", {"V": "1"})


def test_the_image_starts_wkpipe_as_a_user_without_rights(root: Path) -> None:
    recipe = read_recipe((root / "containers" / "Containerfile").read_text(), {"VERSION": "1.2"})
    assert recipe.layers == ["debian.tar", "python.tar", "wkpipe.tar"]
    assert recipe.settings["Entrypoint"] == ["wkpipe"]
    assert int(recipe.settings["User"].split(":")[0]) >= 1000  # a number: Kubernetes cannot prove that a name is not root's
    assert recipe.settings["Labels"]["org.opencontainers.image.version"] == "1.2"
