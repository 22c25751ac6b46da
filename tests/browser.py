"""A headless Chromium, driven through chromedriver over plain HTTP (W3C WebDriver), for the tests and a benchmark."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",  # as root, in a container
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
)
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key under which the protocol hands out elements."""

SECONDS = 60
"""After which an answer of the browser counts as missing."""


class BrowserUnavailableError(Exception):
    """There is no chromium or chromedriver on this machine."""


class Browser:
    """One window of a Chromium."""

    def __init__(self, port: int, profile: Path, binary: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        self._session = ""
        options = {"args": [*FLAGS, f"--user-data-dir={profile}"], "binary": binary}
        capabilities = {"goog:chromeOptions": options, "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"}}
        made = self._ask("POST", "", {"capabilities": {"alwaysMatch": capabilities}})
        self._session = f"/{made['sessionId']}"
        # A page builds parts of itself in answer to a click, a moment later: the driver waits for an element to come.
        self._ask("POST", "/timeouts", {"implicit": SECONDS * 1000 // 2})

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        text = json.dumps(body) if body is not None else None
        self._connection.request(method, f"/session{self._session}{path}", text, {"Content-Type": "application/json"})
        with self._connection.getresponse() as response:
            answer = json.load(response)["value"]
        if isinstance(answer, dict) and "error" in answer:
            raise AssertionError(f"{method} {path}: {answer['error']}: {answer['message']}")
        return answer

    def close(self) -> None:
        """Close the window and the browser."""
        self._ask("DELETE", "")
        self._connection.close()

    def open(self, page: Path) -> None:
        """Load a file and wait for its end."""
        self._ask("POST", "/url", {"url": page.as_uri()})

    def run(self, script: str, *args: Any) -> Any:
        """Run the body of a JavaScript function and give what it returns, or what its promise holds."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(args)})

    def element(self, css: str) -> Any:
        """Give the first element that `css` selects, as an argument of `run`."""
        return self._ask("POST", "/element", {"using": "css selector", "value": css})

    def click(self, css: str) -> None:
        """Click as a person does: the element is scrolled into view and must be on top there."""
        self._ask("POST", f"/element/{self.element(css)[_ELEMENT]}/click", {})

    def type(self, css: str, keys: str) -> None:
        """Press keys in an element."""
        self._ask("POST", f"/element/{self.element(css)[_ELEMENT]}/value", {"text": keys})

    def devtools(self, command: str, **params: Any) -> Any:
        """Call a command of the DevTools protocol."""
        return self._ask("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    def window(self, width: int, height: int, *, dark: bool = False, mobile: bool = False) -> None:
        """Set the size of the window in CSS pixels, and what a page is told of the colours and the device."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, file: Path, *, whole: bool = False) -> None:
        """Write a PNG of the window, or of the whole page."""
        shot = self.devtools("Page.captureScreenshot", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(shot["data"]))

    def requests(self) -> list[str]:
        """Give the addresses that were asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]

    def complaints(self) -> list[str]:
        """Give what the console got since the last call: errors, and refusals by a Content-Security-Policy."""
        return [entry["message"] for entry in self._log("browser")]

    def _log(self, kind: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self._ask("POST", "/se/log", {"type": kind})
        return entries


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Start a browser with an empty profile; raise BrowserUnavailableError where there is none."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (binary and driver):
        raise BrowserUnavailableError("chromium and chromedriver (Debian: chromium, chromium-driver) are not installed")
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        subprocess.Popen(
            [driver, "--port=0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            env={**os.environ, "HOME": folder},
        ) as process,
    ):
        try:
            assert process.stdout
            started = (re.search(r"started successfully on port (\d+)", line) for line in process.stdout)
            port = next((int(match[1]) for match in started if match), 0)
            if not port:
                raise BrowserUnavailableError(f"chromedriver ended with code {process.wait()}")
            browser = Browser(port, Path(folder) / "profile", binary)
            try:
                yield browser
            finally:
                browser.close()
        finally:
            process.terminate()
