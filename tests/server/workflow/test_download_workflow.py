"""`wkpipe download` as a user runs it, and plain `snakemake`: killed and resumed, the token in no file and no process."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.reference.workshop import assert_same_facts, our_facts
from tests.server.workflow.watched import Command, Server, files_of, no_token_in, until
from tests.workflow.workflow_helpers import REPOSITORY, WKPIPE, identities, kill_tree, proven, registered_mags, run
from wkpipe.errors import InputRefused, Interrupted, ServerError, UsageError

pytestmark = pytest.mark.sampled(every=6)


@pytest.fixture
def page(golden: Path, server: Server) -> str:
    """The address of a dataset with two layers on the server; voxels arrive slowly, so that a run can be interrupted."""
    source = server.wk.add_dataset(golden / "z3_seg")
    return f"{server.url}/datasets/{source.id}"


@pytest.fixture
def stack_page(local_dataset: Path, server: Server) -> str:
    """The same for one that makes some dozen shards."""
    return f"{server.url}/datasets/{server.wk.add_dataset(local_dataset).id}"


@pytest.fixture(scope="session")
def local_dataset(stack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("source") / "stack"
    result = run("convert", stack, target, "--voxel-size", "11,11,25", "--shard-shape", "64,64,64")
    assert result.returncode == 0, result.stderr
    return target


def download(work: Path, *words: object) -> Command:
    work.mkdir(exist_ok=True)
    return Command([*WKPIPE, "download", *map(str, words)], work)


def snakemake(work: Path, page: str, *more: str, profile: str = "multiprocessing", **config: str) -> Command:
    work.mkdir(exist_ok=True)
    values = {"target": str(work / "stack"), "download_url": page, "shard_shape": "[64, 64, 64]"} | config
    (work / "config.yaml").write_text("".join(f"{key}: {value}\n" for key, value in values.items()))
    files = ["--snakefile", str(REPOSITORY / "Snakefile"), "--profile", str(REPOSITORY / "profiles" / profile)]
    return Command([sys.executable, "-m", "snakemake", *files, "--configfile", str(work / "config.yaml"), *more], work, is_snakemake=True)


def test_a_dataset_comes_whole_and_once(stack_page: str, local_dataset: Path, tmp_path: Path, server: Server) -> None:
    command = download(tmp_path / "work", stack_page, "--shard-shape", "64,64,64")
    code, out, errors = command.run()
    assert code == 0, errors
    target = tmp_path / "work" / "stack"
    assert f"downloaded {stack_page} to stack" in out
    assert any("wkpipe step" in job for job in command.jobs)
    assert_same_facts(our_facts(target), our_facts(local_dataset))
    no_token_in(tmp_path / "work", out, errors)
    before, asked = identities(target), len(server.wk.requests("data"))
    code, out, errors = command.run()
    assert (code, len(server.wk.requests("data"))) == (0, asked), errors
    assert "nothing to do" in out
    assert identities(target) == before
    assert "downloaded" in run("info", target).stdout
    assert run("verify", target).returncode == 0


def test_the_words_of_the_reference_are_known(page: str, tmp_path: Path) -> None:
    words = ("--layer", "seg32", "--layer", "seg64", "--mag", "2-2-2", "--mag", "4", "--data-format", "wkw", "--bbox", "13,7,5,16,16,8")
    one_core = ("--distribution-strategy", "sequential")
    code, out, errors = download(tmp_path / "work", tmp_path / "here", "--url", page, *words, *one_core).run()
    assert code == 0, errors + out
    assert registered_mags(tmp_path / "here") == {"seg32": [[2, 2, 2], [4, 4, 4]], "seg64": [[2, 2, 2], [4, 4, 4]]}


@pytest.mark.parametrize("name", ["../elsewhere", ".hidden", "a b", ""])
def test_a_name_of_the_server_leads_nowhere(page: str, tmp_path: Path, server: Server, name: str) -> None:
    (dataset,) = server.wk.datasets
    dataset.name = name
    code, _, errors = download(tmp_path / "work", page).run()
    assert code == UsageError.exit_code, errors
    assert "give TARGET" in errors
    assert not list((tmp_path / "work").iterdir())
    assert not (tmp_path / "elsewhere").exists()


def test_by_its_name(page: str, tmp_path: Path, server: Server) -> None:
    command = download(tmp_path / "work", "z3_seg", "--mag", "4", "--layer", "seg32")
    command.environment["WK_URL"] = server.url
    code, _, errors = command.run()
    assert code == 0, errors
    assert registered_mags(tmp_path / "work" / "z3_seg") == {"seg32": [[4, 4, 4]]}
    assert page


@pytest.mark.parametrize(
    "way, number",
    [
        ("wkpipe", signal.SIGKILL),
        ("wkpipe", signal.SIGINT),
        ("snakemake", signal.SIGKILL),
        pytest.param("snakemake", signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_stopped_it_goes_on(stack_page: str, local_dataset: Path, tmp_path: Path, server: Server, way: str, number: signal.Signals) -> None:
    target = tmp_path / "work" / "stack"
    slow = server.wk.fault("data", delay=0.1, count=None)
    if way == "wkpipe":
        command = download(tmp_path / "work", stack_page, "--shard-shape", "64,64,64")
    else:
        command = snakemake(tmp_path / "work", stack_page)
    process = command.start()
    until(process, lambda: files_of(target, "*/*/c/*/*/*/*") >= 4 and files_of(target, ".wkpipe/ledger/*/*/*.segment") > 0)
    if number == signal.SIGKILL:
        kill_tree(process)
    else:
        process.send_signal(number)
    out, errors = process.communicate(timeout=500)
    no_token_in(tmp_path / "work", out, errors)
    if (way, number) == ("wkpipe", signal.SIGINT):
        assert process.returncode == Interrupted.exit_code, errors
    assert not registered_mags(target).get("em"), errors
    done = proven(target)
    assert done
    slow.delay = 0.0
    code, out, errors = command.run()
    assert code == 0, errors
    assert identities(target).items() >= done.items()
    assert_same_facts(our_facts(target), our_facts(local_dataset))
    no_token_in(tmp_path / "work", out, errors)


def test_a_token_that_ends_amidst(stack_page: str, local_dataset: Path, tmp_path: Path, server: Server) -> None:
    server.wk.fault("data", delay=0.05, count=29)
    server.wk.fault("data", delay=1.0, count=20)  # so slow that it is still asking
    command = download(tmp_path / "work", stack_page, "--shard-shape", "64,64,64")
    process = command.start()
    until(process, lambda: len(server.wk.requests("data")) >= 30)
    new = server.wk.renew_token()
    out, errors = process.communicate(timeout=500)
    assert process.returncode == ServerError.exit_code, errors
    assert "403" in errors
    assert "check the token" in errors
    no_token_in(tmp_path / "work", out, errors)
    command.environment["WK_TOKEN"] = new
    code, out, errors = command.run()
    assert code == 0, errors
    assert new not in out + errors
    assert_same_facts(our_facts(tmp_path / "work" / "stack"), our_facts(local_dataset))


def test_trouble_is_reported_and_overcome(stack_page: str, tmp_path: Path, server: Server) -> None:
    command = download(tmp_path / "work", stack_page, "--shard-shape", "64,64,64", "--layer", "labels", "--mag", "1")
    server.wk.fault("data", skip=19, delay=1.0, count=20)
    process = command.start()
    until(process, lambda: len(server.wk.requests("data")) >= 20)
    server.wk.stop_datastore()
    notices = tmp_path / "work" / "stack"
    until(process, lambda: any("trying again" in path.read_text() for path in notices.glob(".wkpipe/runs/*/notices/*")))
    server.wk.start_datastore()
    out, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    assert "trying again in" in errors
    no_token_in(tmp_path / "work", out, errors)


def test_snakemake_downloads_too(stack_page: str, local_dataset: Path, tmp_path: Path) -> None:
    command = snakemake(
        tmp_path / "work", stack_page, download_layers="[em]", download_mags="[1, 2-2-1]", download_bbox="[0, 0, 0, 100, 90, 50]"
    )
    code, out, errors = command.run()
    assert code == 0, errors
    target = tmp_path / "work" / "stack"
    assert registered_mags(target) == {"em": [[1, 1, 1], [2, 2, 1]]}
    source = our_facts(local_dataset)["layers"]["em"]["mags"]["1"]["voxels"][:, :100, :90, :50]
    assert (our_facts(target)["layers"]["em"]["mags"]["1"]["voxels"] == source).all()
    no_token_in(tmp_path / "work", out, errors)
    code, _, errors = command.run()
    assert code == 0, errors
    assert "nothing to do" in errors


def test_a_dry_run_writes_nothing(stack_page: str, tmp_path: Path) -> None:
    code, out, errors = download(tmp_path / "work", stack_page, "--dry-run").run()
    assert code == 0, errors
    assert "server" in out
    assert "storage shards to do" in out
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize(
    "words, code, message",
    [
        (["{page}", "--distribution-strategy", "slurm"], UsageError.exit_code, "a download runs on this machine only"),
        (["{page}", "--distribution-strategy", "kubernetes"], UsageError.exit_code, "a download runs on this machine only"),
        (["{page}", "--layer", "nope"], InputRefused.exit_code, "it has seg32, seg64, seg16_step4"),
        (["{page}", "--mag", "2"], InputRefused.exit_code, "layer seg16_step4 has no mag 2, it has 1, 4, 16-16-8"),
        (["{page}", "--mag", "3"], UsageError.exit_code, "--mag"),
        (["{page}", "--bbox", "1,2,3"], UsageError.exit_code, "--bbox '1,2,3' is not valid"),
        (["{page}", "--bbox", "900,0,0,1,1,1"], InputRefused.exit_code, "touches no layer"),
        (["{server}/datasets/0123456789abcdef01234567"], ServerError.exit_code, "has no dataset"),
        (["{page}?token=verysecret"], UsageError.exit_code, "contains a token"),
        (["{server}/annotations/0123456789abcdef01234567"], UsageError.exit_code, "an annotation"),
        (["{page}", "full"], InputRefused.exit_code, "exists and is not empty"),
        (["http://127.0.0.1:9/datasets/0123456789abcdef01234567", "--token-file", "nothing"], ServerError.exit_code, "token"),
        (["a", "b", "--url", "{page}"], UsageError.exit_code, "TARGET is the only argument"),
    ],
)
def test_what_can_not_be_is_one_line(page: str, tmp_path: Path, server: Server, words: list[str], code: int, message: str) -> None:
    (tmp_path / "work" / "full").mkdir(parents=True)
    (tmp_path / "work" / "full" / "file").touch()
    command = download(tmp_path / "work", *[word.format(page=page, server=server.url) for word in words])
    found, out, errors = command.run()
    assert (found, out) == (code, ""), errors
    assert message in errors
    assert len(errors.splitlines()) == 1
    assert "verysecret" not in errors
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["full"]


def test_without_a_token(page: str, tmp_path: Path) -> None:
    command = download(tmp_path / "work", page)
    command.environment["WK_TOKEN"] = ""
    code, _, errors = command.run()
    assert (code, "a token is needed" in errors) == (UsageError.exit_code, True), errors


def test_on_a_cluster_snakemake_says_that_it_can_not(page: str, tmp_path: Path) -> None:
    """Before any server is asked, and any job submitted."""
    command = snakemake(tmp_path / "work", page, "--executor", "wkpipe-slurm", "--jobs", "2", "-n")
    code, _, errors = command.run()
    assert code == UsageError.exit_code, errors
    assert "a download runs on this machine only" in errors
    assert not (tmp_path / "work" / "stack").exists()
