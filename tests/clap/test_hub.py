"""Checkpoints by hub id, against a hub on this machine that speaks the part of the protocol that downloads use."""

import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
import transformers
from tokenizers import ByteLevelBPETokenizer

pytest.importorskip("huggingface_hub", reason="needs huggingface_hub (clapstream[hub])")

COMMITS = {"main": "a" * 40, "v1": "b" * 40}
WEIGHTS = bytes(range(256)) * 4000
LARGE = bytes(range(256)) * 100_000  # huggingface_hub keeps what it received in pieces of 10 MB

PROGRAM = """
import json, sys
from hashlib import sha1
from clapstream.clap.hub import CheckpointError, CheckpointSource
arguments, filenames = json.loads(sys.argv[1]), json.loads(sys.argv[2])
try:
    path = CheckpointSource(**arguments).require(*filenames)
    print(json.dumps({"path": str(path), "sha1": sha1(path.read_bytes()).hexdigest()}))
except CheckpointError as error:
    print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
"""


def digest(content):
    return sha1(content).hexdigest()


@dataclass
class Hub:
    """What the hub holds, what was asked of it, and how many bytes it sends before it hangs up (once)."""

    files: dict[str, bytes]
    url: str = ""
    requests: list[str] = field(default_factory=list)
    hang_up_after: int | None = None

    def count(self, method: str) -> int:
        return sum(request.startswith(method) for request in self.requests)


class HubHandler(BaseHTTPRequestHandler):
    """HEAD and GET of `/<owner>/<name>/resolve/<revision>/<file>`, with ranges, ETag and the commit's header."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, with_body: bool):
        hub = self.hub
        hub.requests.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
        match = re.fullmatch(r"/home/(\w+)/resolve/(\w+)/(.+)", self.path)
        if match is None or match[1] not in ("clap", "gated"):
            return self.refuse("RepoNotFound")
        if match[1] == "gated":
            return self.refuse("GatedRepo", 403)
        commit = COMMITS.get(match[2], match[2] if match[2] in COMMITS.values() else None)
        if commit is None:
            return self.refuse("RevisionNotFound")
        content = hub.files.get(f"{match[2]}:{match[3]}", hub.files.get(match[3]))
        if content is None:
            return self.refuse("EntryNotFound", commit=commit)
        start = int(re.match(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", f'"{digest(content)}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if not with_body:
            return None
        if hub.hang_up_after is not None:
            self.wfile.write(content[start : start + hub.hang_up_after])
            hub.hang_up_after = None
            self.close_connection = True
            return None
        return self.wfile.write(content[start:])

    def refuse(self, code: str, status: int = 404, commit: str = ""):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        """Say nothing: requests are recorded."""


@pytest.fixture
def hub():
    contents = {
        "config.json": b'{"model_type": "clap"}',
        "model.safetensors": WEIGHTS,
        "v1:config.json": b'{"old": 1}',
    }
    hub = Hub(contents)
    handler = type("Handler", (HubHandler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()


def make_environment(url, cache, offline):
    """This process's environment, with our hub in place of the real one and no proxy before it."""
    return {
        **{key: value for key, value in os.environ.items() if "proxy" not in key.lower()},
        "HF_HOME": str(cache),
        "HF_ENDPOINT": url,
        "HF_HUB_OFFLINE": str(int(offline)),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


@pytest.fixture
def ask(hub, tmp_path):
    """Look for files in a process of its own, since huggingface_hub reads its environment when it is imported."""

    def run(*filenames, name="home/clap", offline=False, url=hub.url, **arguments):
        environment = make_environment(url, tmp_path / "cache", offline)
        command = [sys.executable, "-c", PROGRAM, json.dumps({"name": name, **arguments}), json.dumps(filenames)]
        finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert finished.returncode == 0, finished.stderr
        answer = json.loads(finished.stdout)
        return answer.get("sha1") or answer["error"]

    return run


def test_a_file_is_downloaded_once_and_found_offline(hub, ask):
    assert ask("model.safetensors") == digest(WEIGHTS)
    assert hub.count("GET") == 1
    assert ask("model.safetensors") == digest(WEIGHTS)
    assert hub.count("GET") == 1  # the cache, after asking whether it is still current
    before = len(hub.requests)
    assert ask("model.safetensors", offline=True) == digest(WEIGHTS)
    assert ask("model.safetensors", local_files_only=True) == digest(WEIGHTS)
    assert len(hub.requests) == before


def test_an_interrupted_download_is_resumed(hub, ask):
    hub.files["model.safetensors"] = LARGE
    hub.hang_up_after = 15_000_000
    assert ask("model.safetensors") == digest(LARGE)
    (_, resumed) = [request for request in hub.requests if request.startswith("GET")]
    start = int(re.search(r"bytes=(\d+)-", resumed)[1])
    assert 0 < start <= 15_000_000


def test_a_revision_is_pinned(hub, ask):
    assert ask("config.json") == digest(hub.files["config.json"])
    assert ask("config.json", revision="v1") == digest(hub.files["v1:config.json"])
    assert ask("config.json", revision=COMMITS["main"]) == digest(hub.files["config.json"])
    before = len(hub.requests)
    assert ask("config.json", revision=COMMITS["main"]) == digest(hub.files["config.json"])
    assert len(hub.requests) == before  # a commit cannot change: nobody is asked
    assert ask("config.json", revision="v2") == "CheckpointError: home/clap: has no revision 'v2'"


def test_another_name_of_a_file_is_tried(hub, ask):
    names = ("model.safetensors.index.json", "model.safetensors")
    assert ask(*names) == digest(WEIGHTS)
    assert ask(*names, offline=True) == digest(WEIGHTS)
    assert ask("pytorch_model.bin", "flax.bin") == (
        "CheckpointError: home/clap: has no pytorch_model.bin or flax.bin"
    )
    # What the hub did not have then is known to be absent without a network too.
    assert "has no pytorch_model.bin" in ask("pytorch_model.bin", offline=True)


def test_a_missing_network_is_named(hub, ask):
    answer = ask("config.json", offline=True)
    assert answer.startswith(
        "HubUnreachableError: home/clap: config.json is not in the cache, and the hub is offline"
    )
    assert hub.requests == []


@pytest.mark.slow  # huggingface_hub tries for about twenty seconds
def test_a_hub_that_does_not_answer_is_named(hub, ask):
    nobody = "http://127.0.0.1:9"
    answer = ask("config.json", "preprocessor_config.json", url=nobody)
    assert answer.startswith("HubUnreachableError: home/clap: config.json is not in the cache")
    assert ask("config.json") == digest(hub.files["config.json"])
    assert ask("model.safetensors", "config.json", offline=True) == digest(hub.files["config.json"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("home/nothing", "home/nothing: is not a directory, and the hub has no such repository, or it is private"),
        ("home/gated", "home/gated: its owner must grant access first"),
        ("no such/id at all", "no such/id at all: is neither a directory nor a hub id"),
        ("./nowhere", "./nowhere: there is no such directory"),
    ],
)
def test_a_wrong_id_is_named(name, message, ask):
    assert ask("config.json", name=name).startswith(f"CheckpointError: {message}")


def test_a_hub_id_without_huggingface_hub_says_what_to_install(tmp_path):
    program = f"import sys; sys.modules['huggingface_hub'] = None\n{PROGRAM}"
    command = [sys.executable, "-c", program, json.dumps({"name": "home/clap"}), json.dumps(["config.json"])]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "needs huggingface_hub (pip install clapstream[hub])" in json.loads(finished.stdout)["error"]


LOADING = """
import sys
from clapstream.clap import ClapProcessor, ClapTextModelWithProjection
batch = ClapProcessor.from_pretrained("home/clap")(["a dog", "rain outside"], padding=True, return_tensors="pt")
print(ClapTextModelWithProjection.from_pretrained("home/clap")(**batch).text_embeds.double().sum().item())
"""


def test_a_whole_checkpoint_is_loaded_by_its_id(hub, tmp_path):
    directory = tmp_path / "checkpoint"
    expected = write_checkpoint(directory)
    hub.files = {path.name: path.read_bytes() for path in directory.iterdir()}
    assert any("00002" in name for name in hub.files)
    for offline in (False, True):
        environment = make_environment(hub.url, tmp_path / "cache", offline)
        finished = subprocess.run([sys.executable, "-c", LOADING], env=environment, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr
        assert float(finished.stdout) == pytest.approx(expected, rel=1e-5)
        hub.files = {}


def write_checkpoint(directory):
    """A small CLAP in shards with a tokenizer, as transformers writes it; the sum of two texts' embeddings."""
    torch.manual_seed(2)
    text = {"vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    audio = {"depths": [1], "num_attention_heads": [1], "patch_embeds_hidden_size": 8, "hidden_size": 8}
    model = transformers.ClapModel(transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=8))
    model.eval().save_pretrained(directory, max_shard_size="40KB")
    learner = ByteLevelBPETokenizer()
    special_tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    learner.train_from_iterator(["a dog"] * 9, vocab_size=300, special_tokens=special_tokens, show_progress=False)
    learner.save_model(str(directory))
    tokenizer = transformers.RobertaTokenizerFast.from_pretrained(directory)
    transformers.ClapProcessor(
        feature_extractor=transformers.ClapFeatureExtractor(), tokenizer=tokenizer
    ).save_pretrained(directory)
    batch = tokenizer(["a dog", "rain outside"], padding=True, return_tensors="pt")
    hidden = model.text_model(**batch).pooler_output
    return model.text_projection(hidden).double().sum().item()
