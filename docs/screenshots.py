"""Take the README's pictures of the demo: a desktop and a phone.

    python docs/screenshots.py     # needs Chromium, and what `demo` needs

It opens the demo on the models that ship, drops a picture of the quickstart's in, and waits for its
translation.
"""

import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
PICTURE = sorted((ROOT / "examples" / "quickstart" / "test" / "flat").iterdir())[3]
SCREENS = {  # name -> what the browser is like
    "demo": {"viewport": {"width": 1100, "height": 720}},
    "demo-phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
}


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    line = [sys.executable, "-m", "img2img", "demo", "-m", "flat-to-3d"]
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
            path = ROOT / "docs" / "images" / f"{name}.png"
            page.screenshot(path=path)
            Image.open(path).quantize(128).save(path, optimize=True)
            print(path)
        browser.close()
    process.terminate()
    process.wait()


if __name__ == "__main__":
    main()
