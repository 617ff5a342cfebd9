"""``speedbench drafter``: inspect, coverage, prune."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from engines.heads import eagle3, set_maps
from engines.test_drafters import SHAPE

from pytest_speedbench.engines.checkpoints import local_checkpoint
from pytest_speedbench.engines.draft_vocabulary import draft_vocabulary
from pytest_speedbench.measure.tokenizer import WordTokenizer

from .conftest import Speedbench


@pytest.fixture
def head(tmp_path: Path) -> Path:
    return eagle3(tmp_path / "head", SHAPE, [0, 2, 5, 40])


def test_inspect_shows_what_a_drafter_is(speedbench: Speedbench, head: Path) -> None:
    done = speedbench("drafter", "inspect", str(head))
    assert done.code == 0
    assert "method            eagle3" in done.out
    assert "4 of 64 tokens; maps: d2t, t2d" in done.out
    assert "no problems found" in done.out


def test_inspect_lists_problems_and_exits_with_1(speedbench: Speedbench, head: Path) -> None:
    set_maps(head, d2t=np.array([0, 1, 3, 99]))
    done = speedbench("drafter", "inspect", str(head), "--json")
    assert done.code == 1
    found = json.loads(done.out)
    assert found["draft_vocabulary"] == 4
    assert "3 → 102" in found["problems"][0]


def test_inspect_shows_which_layers_each_engine_reads(
    speedbench: Speedbench, tmp_path: Path
) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "config.json").write_text(json.dumps({**SHAPE, "num_hidden_layers": 30}))
    ids = {"eagle_aux_hidden_state_layer_ids": [2, 15, 27]}
    head = eagle3(tmp_path / "head", SHAPE, None, **ids, eagle_config=ids)
    done = speedbench("drafter", "inspect", head, "--model", tmp_path / "target")
    assert "after the layers 1, 14, 26 in vllm; after the layers 2, 15, 27 in sglang" in done.out
    assert (
        "set the inner one to [1, 14, 26]; for those of sglang, the outer one to [3, 16, 28]"
        in (" ".join(done.out.split()))
    )
    assert done.code == 0
    own = eagle3(tmp_path / "own", SHAPE, None, **ids, speculators_model_type="eagle3")
    done = speedbench("drafter", "inspect", own, "--model", tmp_path / "target")
    assert "after the layers 1, 14, 26 in vllm (from 0)" in done.out
    assert "sglang" not in done.out


def test_inspect_names_a_folder_that_is_missing(speedbench: Speedbench) -> None:
    done = speedbench("drafter", "inspect", "no/such/head")
    assert done.code == 2
    assert "no checkpoint at no/such/head" in done.err


# -- coverage ---------------------------------------------------------------------------------

SIMULATED = {**SHAPE, "vocab_size": 32_000}  # the vocabulary of the simulated engine
PASS = ("--engine", "simulated", "--model", "sim", "--samples", 2, "--max-tokens", 20)


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    """A head for the simulated target that drafts the half of its tokens with even ids."""
    return eagle3(tmp_path / "even", SIMULATED, range(0, 32_000, 2))


def test_one_pass_of_the_target_serves_several_vocabularies(
    speedbench: Speedbench, project: Path, cut: Path, tmp_path: Path
) -> None:
    whole = eagle3(tmp_path / "whole", SIMULATED)
    heads = ("--drafter", cut, "--drafter", whole)
    done = speedbench("drafter", "coverage", "prompts.jsonl", *heads, *PASS, "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert "outputs of sim on prompts: 4 samples" in found["outputs"]
    half, none = (v["slices"] for v in found["vocabularies"])
    assert [s["name"] for s in half] == ["all", "alpha", "beta"]
    assert half[0]["tokens"] == 4 * 19  # the prefill's token is not decoded
    assert 0.3 < half[0]["share_outside"] < 0.7
    assert none[0]["share_outside"] == 0
    assert none[0]["ceilings"][1]["acceptance_length"] == none[0]["ceilings"][1]["whole"]
    assert found["vocabularies"][0]["lost"][0]["text"].startswith("'w")


def test_a_saved_run_shows_what_its_drafter_is_left_with(
    speedbench: Speedbench, project: Path, cut: Path
) -> None:
    options = ("--drafter", cut, "--dl", 1, "--plot", "cost.png")
    done = speedbench("drafter", "coverage", "base", *options)
    assert done.code == 0
    assert (project / "cost.png").read_bytes().startswith(b"\x89PNG")
    assert "outside ≤ DL 1 ≤ DL 3 AL expected" in done.words
    assert "16,000 of 32,000 tokens" in done.out


def test_sizes_are_the_most_frequent_tokens_of_another_run(
    speedbench: Speedbench, project: Path
) -> None:
    sizes = ("--sizes", "100,32000", "--frequencies", "longer", "--engine", "simulated")
    done = speedbench("drafter", "coverage", "base", *sizes, "--json")
    small, whole = json.loads(done.out)["vocabularies"]
    assert (small["size"], whole["size"]) == (100, 32_000)
    assert small["slices"][0]["share_outside"] > 0.5
    assert whole["slices"][0]["share_outside"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "no vocabulary to measure: give --drafter PATH"),
        (("--sizes", "100"), "--sizes counts the tokens of --frequencies"),
        (("--sizes", "0", "--frequencies", "base"), "--sizes: cannot read '0'"),
        (
            ("--sizes", "40000", "--frequencies", "base"),
            "--sizes 40000: the vocabulary of sim has",
        ),
        (("--drafter", "no/head"), "no checkpoint at no/head"),
        (("--drafter", "CUT", "--dl", "0"), "--dl: cannot read '0'"),
        (("--drafter", "CUT", "--plot", "cost.txt"), "--plot: expected a path that ends in .png"),
        (("--drafter", "CUT", "--category", "maths"), "the samples have: alpha, beta"),
        (("--drafter", "CUT", "--language", "en"), "the samples have: none that is declared"),
        (("--drafter", "CUT", "--engine", "vllm"), "measured with simulated, and --engine says"),
    ],
)
def test_bad_options_of_coverage(
    speedbench: Speedbench, project: Path, cut: Path, options: tuple[str, ...], message: str
) -> None:
    given = [str(cut) if option == "CUT" else option for option in options]
    done = speedbench("drafter", "coverage", "base", *given)
    assert done.code == 2
    assert message in " ".join(done.err.split())


def test_outputs_of_another_target_are_refused(
    speedbench: Speedbench, project: Path, head: Path
) -> None:
    done = speedbench("drafter", "coverage", "base", "--drafter", head)
    assert done.code == 2
    assert "which has 64 tokens: they belong to different targets" in " ".join(done.err.split())


def test_a_drafter_for_another_target_is_refused(
    speedbench: Speedbench, project: Path, tmp_path: Path
) -> None:
    """Even where every token of the outputs would fit its vocabulary."""
    larger = eagle3(tmp_path / "larger", {**SHAPE, "vocab_size": 32_064}, range(16_000))
    corpus = ("--sizes", 500, "--frequencies", "base", "-o", "cut")
    for arguments in (("coverage", "base", "--drafter", larger), ("prune", larger, *corpus)):
        done = speedbench("drafter", *arguments)
        assert done.code == 2
        message = "is for a target of 32064 tokens, and sim has 32000"
        assert message in " ".join(done.err.split())
    assert not (project / "cut").exists()


def test_a_source_that_does_not_exist_is_named(
    speedbench: Speedbench, project: Path, cut: Path
) -> None:
    for source, message in (("nothing", "no run number or name"), ("no.txt", "cannot read no.txt")):
        done = speedbench("drafter", "coverage", source, "--drafter", cut, "--engine", "simulated")
        assert done.code == 2
        assert message in " ".join(done.err.split())


def test_an_empty_text_has_nothing_to_count(
    speedbench: Speedbench, project: Path, cut: Path
) -> None:
    (project / "empty.txt").write_text("\n")
    arguments = ("empty.txt", "--drafter", cut, "--engine", "simulated")
    done = speedbench("drafter", "coverage", *arguments)
    assert done.code == 2
    assert "empty.txt: no output tokens" in done.err


# -- prune ------------------------------------------------------------------------------------


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return eagle3(tmp_path / "whole", SIMULATED)


def test_a_head_is_cut_to_the_tokens_of_a_corpus(
    speedbench: Speedbench, project: Path, whole: Path
) -> None:
    pytest.importorskip("torch")
    corpus = ("--frequencies", "base", "--engine", "simulated")
    done = speedbench("drafter", "prune", whole, "--sizes", "500,20000", *corpus, "-o", "cut")
    assert done.code == 0
    assert "cut/v500" in done.out
    assert "of the 20,000 tokens do not occur in this corpus" in done.words
    assert "no problems found" in speedbench("drafter", "inspect", "cut/v500").out
    arguments = ("base", "--drafter", "cut/v500", "--drafter", "cut/v20000", "--json")
    done = speedbench("drafter", "coverage", *arguments, "--engine", "simulated")
    few, many = (v["slices"][0]["share_outside"] for v in json.loads(done.out)["vocabularies"])
    assert few > 0.1
    assert many < few


def test_a_text_may_be_the_corpus(speedbench: Speedbench, project: Path, whole: Path) -> None:
    pytest.importorskip("torch")
    (project / "corpus.txt").write_text("the cat and the dog\nthe cat\n")
    corpus = ("--frequencies", "corpus.txt", "--engine", "simulated")
    done = speedbench("drafter", "prune", whole, "--sizes", 3, *corpus, "-o", "cut")
    assert done.code == 0
    words = WordTokenizer().encode("the cat")
    kept = draft_vocabulary(local_checkpoint("cut/v3")).token_ids
    assert sorted(kept) == sorted([*words, *WordTokenizer().stop_ids])


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ("32000", "--sizes 32000: HEAD can draft 32000 tokens, so a cut must be smaller"),
        ("many", "--sizes: cannot read 'many'"),
        ("500", "cut/v500 exists: remove it"),
    ],
)
def test_bad_options_of_prune(
    speedbench: Speedbench, project: Path, whole: Path, sizes: str, message: str
) -> None:
    (project / "cut/v500").mkdir(parents=True)
    corpus = ("--frequencies", "base", "--engine", "simulated")
    done = speedbench("drafter", "prune", whole, "--sizes", sizes, *corpus, "-o", "cut")
    assert done.code == 2
    assert message.replace("HEAD", str(whole)) in " ".join(done.err.split())
