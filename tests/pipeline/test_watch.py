"""Canaries, skills and traffic of a served model: quiet for a good artefact, an alarm for a bad one."""

import json
import random

import pytest

from qcourse import serve
from qcourse.common import QCourseError
from qcourse.pipeline.canaries import reference
from qcourse.pipeline.watch import Watched, alarms, write_prometheus
from qcourse.serve.ports import choose_port
from tests import engines
from tests.cli.conftest import cli  # noqa: F401

SKILL = {"lost": 9, "gained": 0, "n": 50, "p": 0.004}


def test_what_raises_an_alarm():
    assert alarms(0.95, 0.9, {"facts": SKILL | {"p": 0.2}}, {"distance": 0.1, "limit": 0.2}) == []
    assert "0.890 of the canaries" in alarms(0.89, 0.9, {}, {})[0]
    assert alarms(1, 0.9, {"facts": SKILL}, {}) == ["facts: 9 answers lost, 0 gained of 50"]
    assert alarms(1, 0.9, {"facts": SKILL | {"lost": 0, "gained": 9}}, {}) == []
    assert "traffic has moved" in alarms(1, 0.9, {}, {"distance": 0.3, "limit": 0.2})[0]


def test_a_look_as_prometheus_text(tmp_path):
    found = Watched(
        0.75, (0.6, 0.9), 64, {"facts": SKILL}, {"distance": 0.3, "limit": 0.2}, {}, ["one", "two"]
    )
    write_prometheus(found, tmp_path / "new" / "watch.prom")
    page = serve.metrics.__globals__["parse"]((tmp_path / "new" / "watch.prom").read_text())
    assert page.value("qcourse_canary_agreement") == 0.75 and page.value("qcourse_alarms") == 2
    assert (
        page.labels("qcourse_answers_lost") == {"skill": "facts"} and page.value("qcourse_answers_lost") == 9
    )
    assert "ALARM: one" in str(found) and "no alarm" in str(Watched(1, (0.9, 1), 64))


def test_half_a_question_is_refused(cli, tmp_path):  # noqa: F811
    for options, said in ((("--usual", tmp_path / "x"), "needs both"), (("--agreement", 2), "is no check")):
        assert said in cli("watch", "http://127.0.0.1:9", "--baseline", "pico", *options).err


def lines(path, texts):
    """Write texts as JSONL and return the path."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """pico as a faithful GGUF and as one of two bits."""
    engines.require("gguf")
    engines.require("llama.cpp")
    from qcourse.pipeline.build import build
    from qcourse.recipe import named

    folder = tmp_path_factory.mktemp("watched")
    return [
        build("pico", named(f"gguf-{kind}"), "gguf", folder / f"{kind}.gguf") for kind in ("q8_0", "q2_k")
    ]


@pytest.mark.slow
@pytest.mark.engine
def test_another_artefact_behind_the_same_address_raises_an_alarm(cli, files, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path))
    monkeypatch.setenv("QCOURSE_API_KEY", "the key")
    port, page = choose_port(None), tmp_path / "watch.prom"
    command = ("watch", f"http://127.0.0.1:{port}", "--baseline", "pico", "--items", 10, "--metrics", page)
    shares = []
    for file, code in zip(files, (0, 1), strict=True):
        with serve.llama_cpp(file, port=port, api_key="the key", progress=False):
            found = cli(*command, "--json")
        assert found.code == code, (found.out, found.err)
        values = json.loads(found.out)
        assert values["canaries"] >= 32 and values["metrics"]["tokens made"] >= 32
        assert f"qcourse_canary_agreement {values['agreement']}" in page.read_text()
        shares.append(values["agreement"])
    assert shares[0] >= 0.95 > shares[1] and values["alarms"]
    with pytest.raises(QCourseError, match="does not answer as an OpenAI server"):
        serve.connect(f"http://127.0.0.1:{port}")


@pytest.mark.slow
@pytest.mark.engine
def test_shifted_traffic_raises_an_alarm(cli, files, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path))
    questions = [f"What is {a} plus {b}? Write the steps." for a in range(10, 30) for b in range(11, 21)]
    usual = lines(tmp_path / "usual.jsonl", questions)
    same = lines(tmp_path / "same.jsonl", random.Random(0).sample(questions, 50))
    other = lines(tmp_path / "other.jsonl", [f"def area_{n}(x): return x ** {n}" for n in range(50)])
    with serve.llama_cpp(files[0], progress=False) as server:
        options = ("--baseline", "pico", "--usual", usual, "--api-key", server.api_key, "--json")
        for traffic, code in ((same, 0), (other, 1)):
            found = cli("watch", server.url, *options, "--traffic", traffic)
            assert found.code == code, (found.out, found.err)
        assert "traffic has moved" in json.loads(found.out)["alarms"][0]
        short = lines(tmp_path / "short.jsonl", questions[:3])
        assert "fill no window of 50" in cli("watch", server.url, *options, "--traffic", short).err


def test_the_reference_is_stored_once(tmp_path, monkeypatch):
    monkeypatch.setenv("QCOURSE_HOME", str(tmp_path))
    found = reference("pico", 8)
    assert 4 <= len(found.prompts) == len(found.expected) <= 8 and found.marks == {}
    monkeypatch.setattr("qcourse.measure.evaluation_tokens", lambda *_: pytest.fail("computed again"))
    assert reference("pico", 8) == found
