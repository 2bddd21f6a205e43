"""Whole servers on the session's Ray: answers equal predictions, and no accepted request is lost."""

import asyncio
import socket

import h5py
import httpx
import numpy as np
import pytest
import ray

import rayrml
from rayrml.errors import ClusterError, ConfigError
from tests.serving import browser
from tests.serving.networks import draw, save_classifier

pytestmark = pytest.mark.ray

PATIENCE = httpx.Timeout(120)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_classifier(tmp_path_factory.mktemp("served") / "a.pt")


@pytest.fixture(scope="module")
def server(ray_cluster, checkpoint):
    """Two replicas; the session's Ray has a single CPU."""
    with rayrml.serve(checkpoint, port=0, replicas=2, cpus=0.1) as found:
        yield found
    assert ray.is_initialized()  # what was there before goes on


def ask(server, method, path, **request):
    headers = {"Authorization": f"Bearer {server.token}", **request.pop("headers", {})}
    return httpx.request(method, server.url + path, headers=headers, timeout=PATIENCE, **request)


async def post_all(server, requests, meanwhile=None):
    """The responses to requests, each of which is a list of files, all sent at once."""
    headers = {"Authorization": f"Bearer {server.token}"}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(headers=headers, timeout=PATIENCE, limits=limits) as client:
        posts = [
            asyncio.create_task(
                client.post(
                    f"{server.url}/predict?outputs=1", files=[("file", (name, content)) for name, content in own]
                )
            )
            for own in requests
        ]
        if meanwhile is not None:
            await asyncio.to_thread(meanwhile)
        return await asyncio.gather(*posts)


def find_replicas():
    return [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True) if "#network#" in actor["name"]]


def test_mixed_requests_at_once_have_the_numbers_of_predict(server, checkpoint, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    kinds = ("PNG", "JPEG", "BMP")
    names = [f"{number}.{kinds[number % 3].lower()}" for number in range(40)]
    contents = [draw(number, kind=kinds[number % 3]) for number in range(40)]
    for name, content in zip(names, contents, strict=True):
        (folder / name).write_bytes(content)
    files = list(zip(names, contents, strict=True))
    requests = [files[:1], files[1:8], files[8:9], *[[file] for file in files[9:30]], files[30:]]
    responses = asyncio.run(post_all(server, requests))
    assert {response.status_code for response in responses} == {200}
    served = {one["name"]: one for response in responses for one in response.json()["predictions"]}
    predicted = rayrml.predict(checkpoint, folder, tmp_path / "out", overrides={"data.test_batch_size": 1}, quiet=True)
    with h5py.File(predicted.files[0]) as file:
        for name in names:
            assert np.array_equal(np.array(served[name]["output"], np.float32), file[name][()]), name
    for row in predicted.rows:
        assert [pair["class"] for pair in served[row.path]["classes"]] == list(row.classes)
        assert [pair["probability"] for pair in served[row.path]["classes"]] == list(row.probabilities)


def test_two_hundred_requests_at_once_are_answered_although_a_replica_is_killed(server):
    requests = [[(f"{number}", draw(number % 7))] for number in range(200)]
    (victim, *_) = find_replicas()

    def kill():
        ray.kill(ray.get_actor(victim, namespace="serve"), no_restart=False)

    responses = asyncio.run(post_all(server, requests, meanwhile=kill))
    assert {response.status_code for response in responses} == {200}
    outputs = [str(response.json()["predictions"][0]["output"]) for response in responses]
    assert all(outputs[number] == outputs[number % 7] for number in range(200))
    assert [response.json()["predictions"][0]["name"] for response in responses] == list(map(str, range(200)))


def test_bad_requests_are_refused_and_the_server_goes_on(server):
    url = f"{server.url}/predict"
    assert httpx.post(url, content=draw(0), timeout=PATIENCE).status_code == 401
    assert ask(server, "POST", "/predict", content=b"text", headers={"Content-Type": "text/plain"}).status_code == 415
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    assert ask(server, "POST", "/predict", content=b"", headers=form).status_code == 400
    found = ask(server, "POST", "/predict", files=[("file", ("a.png", draw(0))), ("file", ("b.png", b"no image"))])
    assert (found.status_code, found.json()["error"].partition(":")[0]) == (400, "b.png")
    assert "classes" in found.json()["predictions"][0]
    assert ask(server, "POST", "/predict", content=bytes(33 * 2**20)).status_code == 413
    assert ask(server, "GET", "/", headers={"Host": "attacker.example"}).status_code == 403
    assert ask(server, "GET", "/healthz").json() == {"status": "ok"}


def test_the_pages_and_what_is_known_of_the_network(server):
    known = ask(server, "GET", "/metadata").json()
    assert (known["classes"], known["input"]["shape"], known["answers"]) == (["a", "b", "c"], [1, 28, 28], ["classes"])
    for path in ("/", "/docs", "/openapi.json"):
        assert ask(server, "GET", path).status_code == 200


def test_a_second_server_on_the_same_ray_is_refused(server, checkpoint):
    with pytest.raises(ClusterError, match="Ray Serve runs on this cluster already"):
        rayrml.serve(checkpoint, port=0)
    assert ask(server, "GET", "/healthz").status_code == 200


def test_invalid_arguments_are_refused_before_ray_is_asked(checkpoint):
    with pytest.raises(ConfigError, match="max_replicas is 1, but min_replicas 2"):
        rayrml.serve(checkpoint, replicas=(2, 1))
    with pytest.raises(ConfigError, match=r"gpus is 1.5\. Expected a part of one GPU"):
        rayrml.serve(checkpoint, gpus=1.5)
    with pytest.raises(ConfigError, match="token and open exclude each other"):
        rayrml.serve(checkpoint, token="secret", no_token=True)
    with pytest.raises(ConfigError, match="max_byte"):
        rayrml.serve(checkpoint, max_byte=1)


def test_a_port_that_is_taken_is_told():
    from rayrml.serving.server import _check_port

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConfigError, match=r"cannot be listened at\. Address already in use"):
            _check_port("127.0.0.1", other.getsockname()[1])


@pytest.mark.skipif(browser.COMMAND is None, reason="there is no Chromium")
def test_a_browser_shows_the_answers_to_chosen_files_and_asks_nobody_else(server, tmp_path):
    (tmp_path / "one.png").write_bytes(draw(1))
    (tmp_path / "note.txt").write_text("no image")

    async def look():
        async with browser.open_tab() as tab:
            await tab.open(server.page)
            await tab.wait_for_text("Input: images")
            await tab.choose_files([tmp_path / "one.png", tmp_path / "note.txt"])
            text = await tab.wait_for_text(r"(?=.*one\.png\s.*\d %)(?=.*note\.txt\s.*cannot be read)")
            return text, tab.requests, tab.errors

    text, requests, errors = asyncio.run(look())
    (predicted,) = ask(server, "POST", "/predict", files=[("file", ("one.png", draw(1)))]).json()["predictions"]
    best = predicted["classes"][0]
    assert f"{best['class']} {100 * best['probability']:.1f} %" in " ".join(text.split())
    assert not errors
    assert server.token not in "".join(requests)
    elsewhere = [one for one in requests if not one.startswith((f"{server.url}/", "blob:", "data:"))]
    assert not [one for one in elsewhere if one.split("#")[0].rstrip("/") != server.url]
