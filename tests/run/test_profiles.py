"""Profiles of Snakemake: which one is found, and how wkpipe's own are installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from snakemake.cli import get_profile_dir

from wkpipe.errors import AlreadyExists, NotWritable, UsageError
from wkpipe.run.profiles import install_profile, profile_file, profile_homes, profile_path, profile_values
from wkpipe.run.workflow_files import profile_directory


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory without any profile, as the working directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("XDG_CONFIG_DIRS", f"{tmp_path}/site:{tmp_path}/ignored")
    monkeypatch.setattr("snakemake.common.APPDIRS", None)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


@pytest.mark.parametrize("name", ["kubernetes", "multiprocessing", "sequential", "slurm"])
def test_snakemake_finds_what_was_installed(home: Path, name: str) -> None:
    installed = install_profile(name, name)
    assert installed == home / ".config" / "snakemake" / name / "config.yaml"
    assert get_profile_dir(name) == (installed.parent, installed)
    assert profile_path(name) == installed.parent
    assert profile_values(profile_path(name)) == profile_values(profile_directory(name)) != {}
    assert {path.name for path in installed.parent.iterdir()} == {path.name for path in profile_directory(name).iterdir()}


def test_the_variable_for_configuration_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "elsewhere"))
    installed = install_profile("slurm", "slurm")
    assert installed.is_relative_to(home / "elsewhere")
    assert get_profile_dir("slurm") == (installed.parent, installed)


def test_an_admin_installs_for_all(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as as_admin:
        as_admin.setenv("XDG_CONFIG_HOME", str(home / "site"))
        installed = install_profile("slurm", "slurm")
    assert installed.is_relative_to(profile_homes()[1])
    assert get_profile_dir("slurm") == (installed.parent, installed)
    assert profile_path("slurm") == installed.parent


def test_a_changed_profile_is_kept(home: Path) -> None:
    installed = install_profile("slurm", "slurm")
    assert install_profile("slurm", "slurm") == installed  # nothing differs
    installed.write_text(installed.read_text() + "# ours\n")
    with pytest.raises(AlreadyExists, match=r"differs from wkpipe's.*--force"):
        install_profile("slurm", "slurm")
    assert installed.read_text().endswith("# ours\n")
    assert install_profile("slurm", "cluster") != installed
    install_profile("slurm", "slurm", overwrite=True)
    assert installed.read_bytes() == (profile_directory("slurm") / "config.yaml").read_bytes()


def test_a_profile_that_snakemake_would_prefer_is_in_the_way(home: Path) -> None:
    other = home / ".config" / "snakemake" / "slurm" / "config.v8+.yaml"
    other.parent.mkdir(parents=True)
    other.write_text("executor: slurm\n")
    with pytest.raises(AlreadyExists, match=r"config\.v8\+\.yaml is another profile"):
        install_profile("slurm", "slurm", overwrite=True)
    assert list(other.parent.iterdir()) == [other]


@pytest.mark.parametrize("name", ["nothing", ".", "../profiles/slurm", ""])
def test_what_is_no_profile_is_refused(home: Path, name: str) -> None:
    with pytest.raises(UsageError, match="choose one of: kubernetes, multiprocessing, sequential, slurm"):
        install_profile(name, "slurm")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "-a", "a\nb"])
def test_what_can_be_no_name_is_refused(home: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--name"):
        install_profile("slurm", name)


def test_a_file_in_the_way_is_reported(home: Path) -> None:
    (home / ".config").write_text("")
    with pytest.raises(NotWritable, match=r"cannot write .*\.config"):
        install_profile("slurm", "slurm")


def test_of_several_files_that_for_the_newest_snakemake_is_taken(home: Path) -> None:
    directory = home / "work" / "mine"
    directory.mkdir()
    for name in ("config.yaml", "config.v8+.yaml", "config.v9+.yaml", "other.yaml", "config.v9.yaml"):
        (directory / name).write_text(f"jobs: {len(name)}\n")
        found = get_profile_dir("mine")
        assert found is not None
        assert profile_file(directory) == directory / found[1].name
    assert profile_values(directory) == {"jobs": len("config.v9+.yaml")}


def test_a_profile_that_is_not_there_or_broken_is_refused(home: Path) -> None:
    with pytest.raises(UsageError, match="--profile mine: there is no such profile"):
        profile_path("mine")
    (home / "work" / "mine").mkdir()
    (home / "work" / "mine" / "config.yaml").write_text("jobs: [")
    with pytest.raises(UsageError, match=r"config\.yaml cannot be read"):
        profile_values(profile_path("mine"))
