"""A server as a command: where it says it is, it is; a signal ends it and all that it started."""

import httpx
import psutil
import pytest

from tests.conftest import ROOT
from tests.serving.foreground import serving
from tests.serving.networks import draw, save_classifier

pytestmark = [pytest.mark.ray, pytest.mark.faults]


def test_a_signal_ends_the_server_and_the_ray_that_it_started(tmp_path):
    with serving([save_classifier(tmp_path / "a.pt")], ROOT) as server:
        assert server.text.count(server.token) == 2  # in the page's address, and alone
        assert server.predict(draw(0))["predictions"]
        started = psutil.Process(server.process.pid).children(recursive=True)
        assert server.end().rstrip().endswith("The server has ended")
    _, left = psutil.wait_procs(started, 60)
    assert started
    assert not left, [one.cmdline() for one in left]
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url)
