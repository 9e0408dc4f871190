"""Opens and closes a page in a browser: python -m support.open_browser PATH FLAG..."""

import sys

from playwright.sync_api import sync_playwright

if __name__ == "__main__":
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=sys.argv[1], args=sys.argv[2:])
        browser.new_page().goto("about:blank")
        browser.close()
