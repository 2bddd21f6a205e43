"""A server as a command: where it says it is, it is; a signal ends it and all that it started."""

import re
import signal
import subprocess
import sys

import httpx
import psutil
import pytest

from tests.conftest import ROOT
from tests.serving.networks import draw, save_classifier

pytestmark = [pytest.mark.ray, pytest.mark.faults]


def test_a_signal_ends_the_server_and_the_ray_that_it_started(tmp_path):
    command = [sys.executable, "-m", "rayrml", "serve", save_classifier(tmp_path / "a.pt"), "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        text = "".join(lines)
        (page,) = re.findall(r"Serving at (\S+)", text)
        url, token = page.split("/#token=")
        assert text.count(token) == 2  # in the page's address, and alone
        headers = {"Authorization": f"Bearer {token}"}
        found = httpx.post(f"{url}/predict", content=draw(0), headers=headers, timeout=120)
        assert found.status_code == 200
        started = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
        assert process.stdout.read().rstrip().endswith("The server has ended")
    _, left = psutil.wait_procs(started, 60)
    assert started
    assert not left, [one.cmdline() for one in left]
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
