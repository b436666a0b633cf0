"""The page, as people use it: in Chromium, through its controls, served by the command `serve`."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import draw
from PIL import Image

from nst_lightning.images import to_rgb
from nst_lightning.inference import Stylizer

pytestmark = pytest.mark.browser
PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "web" / "page"
AXE = PROJECT / "web" / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SOFTWARE_GPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
PAINTED = "html[data-state=painted]"


@pytest.fixture(scope="session")
def needs():
    """What the tests need; where CI requires it, missing is failing."""
    missing = [
        what for what, there in {"Chromium": CHROMIUM, "make web": (PAGE / "index.html").exists()}.items() if not there
    ]
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
            page.wait_for_selector(PAINTED)
        return page

    yield open_page
    for context in contexts:
        context.close()


def choose_photo(page, folder, photo, name="photo.png", *, timeout=30_000, **options):
    photo.save(folder / name, **options)
    page.set_input_files("#photo-file", folder / name)
    page.wait_for_selector(f"{PAINTED} #photo[aria-label='The photo {name.split('.')[0]}']", timeout=timeout)


def choose_style(page, name):
    page.get_by_role("radio", name=name, exact=True).check(force=True)
    page.wait_for_selector(PAINTED)


def move(page, slider, value):
    """Let go of a slider at a value."""
    page.locator(slider).evaluate(
        """(slider, value) => {
            slider.value = value;
            for (const kind of ["input", "change"]) slider.dispatchEvent(new Event(kind, { bubbles: true }));
        }""",
        str(value),
    )
    page.wait_for_selector(PAINTED)


def save(page, *, timeout=30_000):
    page.select_option("#format", "image/png")
    with page.expect_download(timeout=timeout) as download:
        page.click("#save")
    return Image.open(io.BytesIO(download.value.path().read_bytes())), download.value.suggested_filename


def decibels(picture, other):
    """The PSNR, of at most 99 dB."""
    error = np.square(np.asarray(picture.convert("RGB"), float) - np.asarray(other, float)).mean()
    return 10 * np.log10(255**2 / max(error, 1e-5))


@pytest.mark.parametrize("model", ["styles", "styles_fp16", "johnson_great_wave"])
@pytest.mark.parametrize("size", [(333, 257), (700, 520)])
def test_it_paints_what_the_stylizer_paints(open_page, tmp_path, model, size):
    page = open_page()
    page.select_option("#network", f"models/{model}.onnx")
    page.wait_for_selector(PAINTED)
    photo = draw(*size)
    choose_photo(page, tmp_path, photo)
    picture, name = save(page)
    assert name.startswith("photo_")
    assert name.endswith(".png")
    assert picture.size == size
    assert decibels(picture, Stylizer(model)(photo)) > 40
    assert not page.problems


def test_a_blend_with_other_strokes_is_the_stylizers(open_page, tmp_path):
    page = open_page()
    photo = draw(720, 560)
    choose_photo(page, tmp_path, photo)
    choose_style(page, "Udnie")
    page.select_option("#second", label="Ink wash")
    move(page, "#share", 25)
    move(page, "#strokes", 1)
    picture, name = save(page)
    assert name == "photo_udnie_and_ink_wash.png"
    assert decibels(picture, Stylizer("styles")(photo, style={"udnie": 3, "ink_wash": 1}, strokes=2)) > 40


def test_strength_and_colors_are_mixed_without_painting_anew(open_page, tmp_path):
    page = open_page()
    photo = draw(400, 300)
    choose_photo(page, tmp_path, photo)
    whole, _ = save(page)
    page.evaluate("window.before = document.querySelector('#painted').getContext('bitmaprenderer')")
    page.evaluate(
        "window.changes = 0; new MutationObserver(() => window.changes++)"
        ".observe(document.documentElement, { attributes: true, attributeFilter: ['data-state'] })"
    )
    move(page, "#strength", 40)
    half, _ = save(page)
    move(page, "#preserve-color", 100)
    assert page.evaluate("getComputedStyle(document.querySelector('#layers')).opacity") == "0.4"
    assert page.evaluate("getComputedStyle(document.querySelector('#recolored')).opacity") == "1"
    assert page.evaluate("window.changes") == 0
    assert decibels(half, Image.blend(photo, whole.convert("RGB"), 0.4)) > 50
    move(page, "#strength", 100)
    recolored, _ = save(page)
    assert decibels(recolored, Stylizer("styles")(photo, preserve_color=1)) > 35


def test_twelve_megapixels_leave_the_page_responsive(open_page, tmp_path):
    page = open_page()
    page.evaluate(
        "window.long = []; "
        "new PerformanceObserver((list) => window.long.push(...list.getEntries().map(({ duration }) => duration)))"
        ".observe({ type: 'longtask' })"
    )
    photo = draw(4000, 3000)
    choose_photo(page, tmp_path, photo)
    shares = []
    page.expose_function("note", lambda share: shares.append(share))
    page.evaluate(
        "new MutationObserver(() => note(document.querySelector('#progress').value))"
        ".observe(document.querySelector('#progress'), { attributes: true })"
    )
    picture, _ = save(page, timeout=180_000)
    assert decibels(picture, Stylizer("styles")(photo)) > 40
    assert len(set(shares)) > 10
    assert shares[:-1] == sorted(shares[:-1])  # the last one hides it
    assert page.evaluate("window.long") == []


def test_a_picture_in_full_size_can_be_cancelled(open_page, tmp_path):
    page = open_page()
    choose_photo(page, tmp_path, draw(3000, 2000))
    page.click("#save")
    page.wait_for_selector("#progress:not([value='0'])")
    page.click("#cancel")
    page.get_by_text("Cancelled.").wait_for(timeout=5000)
    assert page.locator("#cancel").is_hidden()
    choose_style(page, "Udnie")  # it goes on
    assert not page.problems


def test_a_picture_in_full_size_can_be_cancelled_before_it_begins(open_page, tmp_path):
    page = open_page()
    choose_photo(page, tmp_path, draw(1500, 1000))
    saved = []
    page.on("download", lambda download: saved.append(download))
    page.evaluate(
        """() => {
            document.querySelectorAll("#styles input")[3].click(); // whose preview is still being painted
            for (const id of ["save", "cancel"]) document.getElementById(id).click();
        }"""
    )
    page.wait_for_selector("#cancel", state="hidden", timeout=5000)
    page.wait_for_selector(PAINTED)  # the preview goes on
    assert page.locator("#choices").is_enabled()
    page.wait_for_timeout(500)
    assert not saved


def test_the_last_of_several_photos_counts(open_page, tmp_path):
    page = open_page()
    for name, size in (("first", (3000, 2000)), ("second", (64, 48)), ("last", (300, 200))):
        draw(*size).save(tmp_path / f"{name}.png")
        page.set_input_files("#photo-file", tmp_path / f"{name}.png")
    page.wait_for_selector(f"{PAINTED} #photo[aria-label='The photo last']")
    page.wait_for_timeout(1000)
    assert page.get_by_label("The photo last", exact=True).is_visible()
    assert save(page)[0].size == (300, 200)
    assert not page.problems


def test_the_last_of_several_styles_counts(open_page, tmp_path):
    page = open_page()
    photo = draw(300, 200)
    choose_photo(page, tmp_path, photo)
    page.evaluate("for (const style of document.querySelectorAll('#styles input')) style.click()")
    page.wait_for_selector(f"{PAINTED} #painted[aria-label$=' Ink wash']")
    assert decibels(save(page)[0], Stylizer("styles")(photo, style="ink_wash")) > 40


def test_what_is_wrong_stays_readable_while_a_picture_is_painted(open_page, tmp_path):
    page = open_page()
    (tmp_path / "wrong.onnx").write_bytes(b"no network")
    page.get_by_role("radio", name="Udnie").check(force=True)
    page.set_input_files("#network-file", tmp_path / "wrong.onnx")
    page.wait_for_selector("html[data-state=failed]")
    page.wait_for_selector("#painted[aria-label$=' Udnie']")
    page.wait_for_timeout(500)
    assert "wrong.onnx" in page.inner_text("#status")


def test_the_network_in_use_is_shown_if_another_one_fails(open_page):
    page = open_page()
    page.route("**/johnson_wheat_field.onnx", lambda route: route.fulfill(status=404))
    page.select_option("#network", "models/johnson_wheat_field.onnx")
    page.wait_for_selector("html[data-state=failed]")
    assert "404" in page.inner_text("#status")
    assert page.locator("#network").input_value() == "models/styles.onnx"


def test_nothing_else_is_opened_while_a_picture_is_saved(open_page, tmp_path):
    page = open_page()
    choose_photo(page, tmp_path, draw(3000, 2000))
    draw(300, 200).save(tmp_path / "other.png")
    page.locator("#save").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#cancel")
    assert page.locator("#open").is_disabled()
    page.set_input_files("#photo-file", tmp_path / "other.png")
    page.get_by_text("Cancel the download").wait_for(timeout=5000)
    page.keyboard.press("Enter")  # on Cancel
    page.get_by_text("Cancelled.").wait_for(timeout=5000)
    assert page.locator("#open").is_enabled()
    assert page.evaluate("document.activeElement.id") == "save"


def test_what_is_transparent_is_shown_on_white(open_page, tmp_path):
    page = open_page(color_scheme="dark")
    clear = Image.new("RGBA", (300, 200), (0, 0, 0, 0))
    choose_photo(page, tmp_path, clear)
    page.evaluate("document.querySelector('#divider').value = 100")
    page.locator("#divider").dispatch_event("input")
    shown = Image.open(io.BytesIO(page.locator("#photo").screenshot())).convert("RGB")
    assert shown.getpixel((shown.width // 4, shown.height // 4)) == (255, 255, 255)


@pytest.mark.parametrize("size", [(1280, 800), (844, 390), (667, 375), (390, 844), (320, 256)])
def test_controls_have_room(open_page, size):
    page = open_page(viewport=dict(zip(("width", "height"), size)), wait=False)
    page.wait_for_selector(".style")
    for control in ("#strength", "#network", "#open-network"):
        page.locator(control).focus()
        covered = page.locator(control).evaluate(
            """(control) => {
                const { left, top, width, height } = control.getBoundingClientRect();
                return document.elementFromPoint(left + width / 2, top + height / 2) !== control;
            }"""
        )
        assert not covered, control
    assert page.locator("#network").bounding_box()["width"] > 90
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_camera_takes_photos(launch, address):
    with launch("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream") as browser:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector(PAINTED)
        page.evaluate("for (let i = 0; i < 2; i++) document.querySelector('#use-camera').click()")
        page.wait_for_selector("#camera[open]")
        page.wait_for_timeout(1000)  # until there is a picture
        page.click("#shoot")
        page.wait_for_selector(f"{PAINTED} #photo[aria-label='The photo camera']")
        assert page.locator("#camera").is_hidden()
        assert page.evaluate("document.querySelector('#view').srcObject") is None
        assert save(page)[1].startswith("camera_")


@pytest.mark.parametrize("name", ["photo.jpg", "photo.gif", "network.onnx", "network.ONNX"])
@pytest.mark.parametrize("content", [b"", b"no picture, no network", b"\x89PNG\r\n\x1a\n" + bytes(99)])
def test_wrong_files_are_named_and_change_nothing(open_page, tmp_path, name, content):
    page = open_page()
    (tmp_path / name).write_bytes(content)
    page.set_input_files("#network-file" if name.lower().endswith("onnx") else "#photo-file", tmp_path / name)
    page.wait_for_selector("html[data-state=failed]")
    assert name in page.inner_text("#status")
    choose_style(page, "Starry night")
    assert save(page)[0].size == (770, 512)
    assert not page.problems


def test_photos_are_turned_upright(open_page, tmp_path):
    page = open_page()
    photo = draw(300, 200)
    exif = Image.Exif()
    exif[0x0112] = 6
    choose_photo(page, tmp_path, photo, "photo.jpg", exif=exif, quality=97, subsampling=0)
    move(page, "#strength", 0)
    upright = to_rgb(Image.open(tmp_path / "photo.jpg"))
    assert decibels(save(page)[0], upright) > 45


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_photos_and_networks_can_be_dropped_and_pasted(open_page, tmp_path, way):
    page = open_page()
    photo = io.BytesIO()
    draw(320, 240).save(photo, "PNG")
    network = (PROJECT / "export" / "johnson_wheat_field.onnx").read_bytes()
    for name, content in (("mine.png", photo.getvalue()), ("mine.onnx", network)):
        page.evaluate(
            """([name, content, way]) => {
                const data = new DataTransfer();
                data.items.add(new File([new Uint8Array(content)], name));
                const event = way === "drop"
                    ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
                    : new ClipboardEvent("paste", { clipboardData: data, bubbles: true });
                document.body.dispatchEvent(event);
            }""",
            [name, list(content), way],
        )
        page.wait_for_timeout(100)
        page.wait_for_selector(PAINTED)
    picture, name = save(page)
    assert picture.size == (320, 240)
    assert name == "mine_wheat_field_with_cypresses_1889.png"
    assert page.get_by_role("radio").count() == 1
    assert "Gogh" in page.inner_text("#credit")


def test_nothing_leaves_the_origin(open_page, address, tmp_path):
    page = open_page()
    choose_photo(page, tmp_path, draw(320, 240))
    save(page)
    assert page.requested
    assert all(url.startswith((address, "blob:" + address)) for url in page.requested)
    assert page.evaluate("crossOriginIsolated")
    assert not page.problems


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(390, 844), (1280, 800)])
def test_it_is_accessible(open_page, size, scheme):
    page = open_page(viewport=dict(zip(("width", "height"), size)), color_scheme=scheme)
    page.wait_for_selector(".style:last-child canvas[width]")
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run()")["violations"]
    assert [(each["id"], [node["target"] for node in each["nodes"]]) for each in found] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_keyboard_is_enough(open_page):
    page = open_page()
    page.get_by_role("radio", name="Great wave").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("radio", name="Starry night").is_checked()
    page.wait_for_selector(PAINTED)
    page.locator("#divider").focus()
    page.keyboard.press("Home")
    assert page.locator("#divider").get_attribute("aria-valuetext") == "0 % photo"
    page.locator("#save").focus()
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "cat_starry_night.jpg"


def test_webgpu_paints_the_same(launch, address, tmp_path):
    photo = draw(96, 64)
    with launch(*SOFTWARE_GPU) as browser:
        page = browser.new_page()
        page.goto(f"{address}?backend=webgpu")
        page.wait_for_selector(".style")
        choose_photo(page, tmp_path, photo, timeout=240_000)  # after the one that it begins with
        assert page.evaluate("document.documentElement.dataset.backend") == "webgpu"
        assert decibels(save(page)[0], Stylizer("styles")(photo)) > 40
