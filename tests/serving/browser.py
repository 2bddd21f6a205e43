"""Chromium without a window, told what to do over its own protocol."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp

COMMAND = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_PATIENCE = 60.0  # seconds


class Tab:
    """A page in the browser.

    Attributes:
        requests: the addresses that were asked for.
        errors: what scripts have thrown.
    """

    def __init__(self, connection: aiohttp.ClientWebSocketResponse):
        self._connection = connection
        self._numbers = itertools.count(1)
        self.requests: list[str] = []
        self.errors: list[str] = []

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command."""
        number = next(self._numbers)
        await self._connection.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = await self._connection.receive_json(timeout=_PATIENCE)
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        if message["method"] == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        if message["method"] == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(message["params"]["exceptionDetails"]))

    async def open(self, address: str) -> None:
        """Open a page."""
        for domain in ("Page", "Runtime", "Network"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=address)

    async def choose_files(self, paths: Sequence[Path]) -> None:
        """Choose files as a person does who clicks on the page's button."""
        root = (await self.call("DOM.getDocument"))["root"]["nodeId"]
        found = await self.call("DOM.querySelector", nodeId=root, selector="input[type=file]")
        await self.call("DOM.setFileInputFiles", files=[str(path) for path in paths], nodeId=found["nodeId"])

    async def wait_for_text(self, pattern: str) -> str:
        """The text of the page, once it matches."""
        text = ""
        for _ in range(int(_PATIENCE / 0.2)):
            found = await self.call("Runtime.evaluate", expression="document.body ? document.body.innerText : ''")
            text = found["result"]["value"]
            if re.search(pattern, text, re.DOTALL):
                return text
            await asyncio.sleep(0.2)
        raise AssertionError(f"the page never had {pattern!r}, but: {text}")


@contextlib.asynccontextmanager
async def open_tab() -> AsyncIterator[Tab]:
    """An empty page in a browser of its own, which ends with it."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [str(COMMAND), *options, "--remote-allow-origins=*", f"--user-data-dir={folder}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = await _find_port(Path(folder))
            async with aiohttp.ClientSession() as session:
                tabs = await (await session.get(f"http://127.0.0.1:{port}/json")).json()
                address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
                async with session.ws_connect(address, max_msg_size=0) as connection:
                    yield Tab(connection)
        finally:
            process.terminate()
            process.wait(_PATIENCE)


async def _find_port(folder: Path) -> int:
    """The port that the browser has chosen, which it writes into its folder."""
    for _ in range(int(_PATIENCE / 0.2)):
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int((folder / "DevToolsActivePort").read_text().splitlines()[0])
        await asyncio.sleep(0.2)
    raise AssertionError("the browser did not start")
