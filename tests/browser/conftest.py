"""Fixtures for the page in a real browser, served by the command `serve`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "web" / "page"
AXE = PROJECT / "web" / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SOFTWARE_GPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
PAINTED = "document.documentElement.dataset.state === 'painted'"


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("browser")


@pytest.fixture(scope="session")
def needs():
    """What the tests need; where CI requires it, missing is failing."""
    missing = [what for what, there in {"Chromium": CHROMIUM, "make web": (PAGE / "index.html").exists()}.items() if not there]
    if missing and os.environ.get("NST_REQUIRE_BROWSER"):
        pytest.fail(f"missing: {missing}")
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")
    return pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="session")
def address(needs, tmp_path_factory):
    """The address of the page."""
    command = [sys.executable, "-m", "nst_lightning", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as server:
        yield server.stdout.readline().split()[0]
        server.terminate()


@pytest.fixture(scope="session")
def launch(needs):
    """A function that starts a browser."""
    with needs.sync_playwright() as playwright:

        def launch(*arguments):
            return playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *arguments])

        yield launch


@pytest.fixture(scope="session")
def browser(launch):
    with launch() as browser:
        yield browser


@pytest.fixture
def open_page(browser, address):
    """A function that opens the page in a window of its own, and waits for the first picture."""
    contexts = []

    def open_page(query="", wait=True, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.problems = []
        page.requested = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: page.requested.append(request.url))
        page.goto(address + query)
        if wait:
            page.wait_for_function(PAINTED)
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def draw():
    """A function that draws a photo: smooth waves, edges and noise."""

    def draw(width, height, seed=0):
        random = np.random.default_rng(seed)
        y, x = np.mgrid[0:height, 0:width].astype(np.float32) / max(width, height)
        waves = [np.sin(8 * (a * x + b * y) + c) for a, b, c in random.normal(size=(3, 3))]
        pixels = np.stack(waves, -1) * 90 + 128
        pixels[height // 4 : height // 2, width // 3 : width // 2] = random.integers(0, 256, 3)
        pixels += random.normal(0, 6, pixels.shape)
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))

    return draw
