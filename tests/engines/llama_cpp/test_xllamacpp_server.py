"""The flags of llama-server, as parameters of the package xllamacpp."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_speedbench.engines.llama_cpp import xllamacpp_server
from pytest_speedbench.errors import UsageError


@pytest.fixture
def parameters() -> Any:
    return pytest.importorskip("xllamacpp").CommonParams()


def test_flags_set_parameters(parameters: Any) -> None:
    words = (
        "--model /m.gguf --host 127.0.0.1 --port 80 --ctx-size 64 --parallel 4 --metrics "
        "--cache-ram 0 --spec-type ngram-mod,draft-simple --spec-draft-n-max 5 "
        "--spec-ngram-mod-n-match 7 --spec-draft-model /d.gguf --cpuparams.poll 0 --no-warmup "
        "--flash-attn disabled"
    )
    xllamacpp_server.apply(parameters, words.split())
    assert parameters.model.path == "/m.gguf"
    assert (parameters.port, parameters.n_ctx, parameters.n_parallel) == (80, 64, 4)
    assert parameters.endpoint_metrics is True
    assert parameters.warmup is False
    assert parameters.cache_ram_mib == 0
    assert parameters.cpuparams.poll == 0
    speculative = parameters.speculative
    assert [kind.name.rpartition("TYPE_")[2] for kind in speculative.types] == [
        "NGRAM_MOD",
        "DRAFT_SIMPLE",
    ]
    assert (speculative.draft.n_max, speculative.ngram_mod.n_match) == (5, 7)
    assert speculative.draft.mparams.path == "/d.gguf"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bogus", "1"], r"no parameter for --bogus"),
        (["--parallel"], r"--parallel needs a value"),
        (["--parallel", "many"], r"--parallel many"),
        (["--spec-type", "psychic"], r"not one of: .*ngram-simple"),
        (["model"], r"unexpected argument 'model'"),
    ],
)
def test_unknown_flags_and_values_are_errors(
    parameters: Any, words: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        xllamacpp_server.apply(parameters, words)


def test_it_answers_as_llama_server_does(parameters: Any, capsys: pytest.CaptureFixture) -> None:
    for question in ("--help", "--version", "--list-devices"):
        assert xllamacpp_server.main([question]) == 0
    printed = capsys.readouterr().out
    assert "--spec-type none,draft-simple" in printed
    assert "version: xllamacpp" in printed
    assert "Available devices:" in printed


def test_a_wrong_flag_ends_it_with_a_message(
    parameters: Any, capsys: pytest.CaptureFixture
) -> None:
    assert xllamacpp_server.main(["--bogus", "1"]) == 2
    assert "error: xllamacpp has no parameter for --bogus" in capsys.readouterr().err
