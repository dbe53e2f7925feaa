"""Take the documentation's pictures of the demo: a desktop, a phone, and the canvas.

    python docs/screenshots.py     # needs Chromium, and what `demo` needs

It opens the demo on the models that ship, drops an example in, and waits for its translation; then
it draws a face.
"""

import math
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
PICTURE = next((ROOT / "weights" / "examples" / "dark-to-light").glob("*-chelsea.png"))
SCREENS = {  # name -> what the browser is like
    "demo": {"viewport": {"width": 1100, "height": 720}},
    "demo-phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
}


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    line = [sys.executable, "-m", "img2img", "demo", "-m", "dark-to-light", "-m", "strokes-to-3d"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    address = next(
        found[0] for told in process.stdout if (found := re.search(r"http://127\S+", told))
    )
    threading.Thread(target=process.stdout.read, daemon=True).start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, kind in SCREENS.items():
            page = browser.new_context(**kind).new_page()
            dark = kind.get("color_scheme") == "dark"
            page.goto(address + ("?__theme=dark" if dark else ""))
            page.wait_for_selector("#picture")
            page.set_input_files("#picture input[type=file]", PICTURE)
            page.locator("#slider img").nth(1).wait_for()
            page.wait_for_timeout(1500)  # the slider moves into its place
            shoot(page, name)
        page = browser.new_context(viewport={"width": 1100, "height": 900}).new_page()
        page.goto(address)
        page.get_by_label("Model").first.click()
        page.get_by_role("option", name="strokes-to-3d").click()
        page.get_by_role("tab", name="Draw").click()
        draw_face(page)
        page.locator("#drawn img").wait_for()
        page.wait_for_timeout(1500)  # for the last stroke
        shoot(page, "demo-canvas")
        browser.close()
    process.terminate()
    process.wait()


def draw_face(page: Page) -> None:
    box = page.locator("#canvas canvas").bounding_box()
    side = box["width"]

    def arc(x: float, y: float, radius: float, first: float = 0, last: float = 2 * math.pi) -> None:
        for step in range(61):
            angle = first + (last - first) * step / 60
            across = box["x"] + side * (x + radius * math.cos(angle))
            page.mouse.move(across, box["y"] + side * (y + radius * math.sin(angle)))
            if step == 0:
                page.mouse.down()
        page.mouse.up()

    arc(0.5, 0.5, 0.4)
    arc(0.36, 0.42, 0.05)
    arc(0.64, 0.42, 0.05)
    arc(0.5, 0.52, 0.22, 0.3, math.pi - 0.3)


def shoot(page: Page, name: str) -> None:
    path = ROOT / "docs" / "images" / f"{name}.png"
    page.screenshot(path=path)
    print(path)


if __name__ == "__main__":
    main()
