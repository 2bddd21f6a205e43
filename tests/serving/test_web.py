"""The HTTP side, without Ray: real requests to the application, whose predictions are made here."""

import asyncio
import base64
import hashlib
import json
import re

import httpx
import pytest

from rayrml.serving.limits import Limits
from rayrml.serving.page import PAGE
from rayrml.serving.web import Access, Web

TOKEN = "secret"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
PICTURE = base64.b64encode(b"a picture").decode()


async def predict(uploads, outputs):
    def answer(upload):
        if upload.content == b"bad":
            return {"name": upload.name, "error": "cannot be read"}
        return {"name": upload.name, "mask": PICTURE, **({"output": [0.1]} if outputs else {})}

    return [answer(upload) for upload in uploads]


async def describe():
    return {"classes": ["a", "b"]}


def make(limits=None, token=TOKEN, hosts=(), predicting=predict):
    access = Access(token=token, hosts=hosts)
    return Web(predict=predicting, describe=describe, limits=limits or Limits(), access=access)


def ask(method, path, *, web=None, base="http://127.0.0.1", **request):
    async def run():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(web or make()), base_url=base) as client:
            return await client.request(method, path, **request)

    return asyncio.run(run())


def test_files_are_answered_in_their_order():
    files = [("file", ("a.png", b"1")), ("file", ("b.png", b"2"))]
    found = ask("POST", "/predict", files=files, headers=HEADERS)
    assert found.status_code == 200
    assert [one["name"] for one in found.json()["predictions"]] == ["a.png", "b.png"]
    assert all("output" not in one for one in found.json()["predictions"])


def test_a_bad_file_of_several_makes_the_status_400_and_is_told_by_its_name():
    files = [("file", ("a.png", b"1")), ("file", ("b.png", b"bad"))]
    found = ask("POST", "/predict", files=files, headers=HEADERS)
    assert (found.status_code, found.json()["error"]) == (400, "b.png: cannot be read")
    assert "mask" in found.json()["predictions"][0]


def test_the_outputs_are_given_if_they_are_wanted():
    found = ask("POST", "/predict?outputs=true", content=b"1", headers=HEADERS)
    assert found.json()["predictions"][0]["output"] == [0.1]


def test_a_mask_alone_is_a_picture_if_one_is_wanted():
    found = ask("POST", "/predict", content=b"1", headers={**HEADERS, "Accept": "image/png"})
    assert (found.headers["content-type"], found.content) == ("image/png", b"a picture")


@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
@pytest.mark.parametrize(("method", "path"), [("POST", "/predict"), ("GET", "/metadata")])
def test_without_the_token_nothing_is_answered(method, path, given):
    found = ask(method, path, headers={} if given is None else {"Authorization": given})
    assert (found.status_code, found.headers["www-authenticate"]) == (401, "Bearer")
    assert "the token is missing or wrong" in found.json()["error"]


def test_a_token_that_is_no_ascii_is_wrong():
    assert ask("GET", "/metadata", headers={"Authorization": "Bearer \xff".encode("latin-1")}).status_code == 401


def test_no_token_is_needed_without_one():
    assert ask("POST", "/predict", content=b"1", web=make(token=None)).status_code == 200


@pytest.mark.parametrize("path", ["/", "/healthz", "/docs", "/openapi.json"])
def test_pages_need_no_token_and_come_from_here_alone(path):
    found = ask("GET", path)
    assert found.status_code == 200
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", found.text)
    assert "default-src 'none'" in found.headers["content-security-policy"]


def test_the_policy_names_the_scripts_and_styles_of_the_page():
    policy = ask("GET", "/").headers["content-security-policy"]
    for kind in ("script", "style"):
        (text,) = re.findall(rf"<{kind}>(.*?)</{kind}>", PAGE, re.DOTALL)
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    assert not re.search(r" (style|on\w+)=", PAGE)


def test_the_description_for_programs_is_complete():
    found = ask("GET", "/openapi.json").json()
    assert found["openapi"].startswith("3.")
    assert set(found["paths"]) == {"/predict", "/metadata", "/healthz"}
    references = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(found))
    assert set(references) == set(found["components"]["schemas"])
    assert "security" not in ask("GET", "/openapi.json", web=make(token=None)).json()["paths"]["/predict"]["post"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/predict", 405), ("POST", "/", 405), ("GET", "/nothing", 404), ("GET", "//", 404), ("HEAD", "/", 200)],
)
def test_other_addresses_and_methods_are_refused(method, path, status):
    found = ask(method, f"http://127.0.0.1{path}", headers=HEADERS)
    assert found.status_code == status
    if status == 405:
        assert found.headers["allow"] == ("POST" if path == "/predict" else "GET")


def test_a_server_for_this_machine_has_no_other_name():
    web = make(hosts=("localhost", "127.0.0.1"))
    assert ask("GET", "/", web=web, base="http://localhost:8000").status_code == 200
    for path in ("/", "/metadata", "/docs", "/openapi.json"):
        assert ask("GET", path, web=web, base="http://attacker.example", headers=HEADERS).status_code == 403


def test_a_large_request_is_refused_before_and_while_it_comes():
    web = make(Limits(max_bytes=100))
    assert ask("POST", "/predict", content=b"1" * 101, headers=HEADERS, web=web).status_code == 413

    async def pieces():
        for _ in range(3):
            yield b"1" * 50

    found = ask("POST", "/predict", content=pieces(), headers=HEADERS, web=web)
    assert (found.status_code, found.json()["error"]) == (413, "the request has more than 100 bytes")
    assert ask("POST", "/predict", content=b"1" * 100, headers=HEADERS, web=web).status_code == 200


def test_requests_that_are_too_many_are_told_to_come_again_and_the_others_are_answered():
    async def run():
        go = asyncio.Event()

        async def slowly(uploads, outputs):
            await go.wait()
            return await predict(uploads, outputs)

        web = make(Limits(max_waiting=3), predicting=slowly)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(web), base_url="http://localhost") as client:
            posts = [asyncio.create_task(client.post("/predict", content=b"1", headers=HEADERS)) for _ in range(10)]
            done, _ = await asyncio.wait(posts, timeout=30, return_when=asyncio.FIRST_COMPLETED)
            while len(done) < 7:
                await asyncio.sleep(0.01)
                done = {post for post in posts if post.done()}
            go.set()
            found = await asyncio.gather(*posts)
            again = await client.post("/predict", content=b"1", headers=HEADERS)
        return [one.status_code for one in found], {one.headers.get("retry-after") for one in found}, again.status_code

    statuses, told, again = asyncio.run(run())
    assert sorted(statuses) == [200] * 3 + [503] * 7
    assert told == {None, "1"}
    assert again == 200


def test_the_bytes_of_all_waiting_requests_are_limited():
    found = ask("POST", "/predict", content=b"1" * 60, headers=HEADERS, web=make(Limits(max_waiting_bytes=50)))
    assert found.status_code == 503


def test_a_client_that_sends_nothing_is_not_waited_for():
    async def pieces():
        yield b"1"
        await asyncio.sleep(60)
        yield b"2"

    found = ask("POST", "/predict", content=pieces(), headers=HEADERS, web=make(Limits(read_seconds=0.05)))
    assert found.status_code == 408


def test_a_failure_shows_nothing_of_the_server(caplog):
    async def fail(uploads, outputs):
        raise RuntimeError("/secret/path")

    found = ask("POST", "/predict", content=b"1", headers=HEADERS, web=make(predicting=fail))
    assert (found.status_code, found.json()["error"]) == (500, "the server failed. RuntimeError; its log says more")
    assert "/secret/path" in caplog.text
