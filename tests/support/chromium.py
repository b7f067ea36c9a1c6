"""Debian's Chromium over the dashboard, and what must hold of every page in it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Response, ViewportSize, sync_playwright

EXECUTABLE = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDTHS = (320, 768, 1280, 1720)
HEIGHT = 900
WIDE: ViewportSize = {"width": 1280, "height": HEIGHT}

needs_chromium = pytest.mark.skipif(not EXECUTABLE.exists(), reason=f"needs {EXECUTABLE}: apt-get install chromium")

AXE = files("axe_playwright_python").joinpath("axe.min.js")
FINDINGS = """
async (rules) => {
  const options = { resultTypes: ["violations"], ...(rules && { runOnly: { type: "rule", values: rules } }) };
  const found = await axe.run(document, options);
  return found.violations
    .filter((each) => ["serious", "critical"].includes(each.impact))
    .map((each) => `${each.id}: ${each.nodes.slice(0, 5).map((node) => node.html.slice(0, 200)).join(" | ")}`);
}
"""
TOO_WIDE = """
() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return "";
  const reaching = [...document.querySelectorAll("main *, header *, nav *")]
    .filter((each) => each.getBoundingClientRect().right > width + 1 && !each.closest(".scroll"));
  return `${document.documentElement.scrollWidth}: ` + reaching.slice(0, 4).map((each) => each.outerHTML.slice(0, 150));
}
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=FLAGS)
        yield browser
        browser.close()


class Tab:
    """A page of the browser. `faults` has what its console, its scripts and its policy reported, in order."""

    def __init__(self, browser: Browser, address: str, **options: Any) -> None:  # noqa: ANN401  # of a context
        self.context: BrowserContext = browser.new_context(
            base_url=address, viewport=WIDE, reduced_motion="reduce", **options
        )
        self.context.set_default_timeout(20_000)
        self.page: Page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.faults.append(f"{self.page.url}: {error}"))
        self.page.on("response", self._answered)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.faults.append(f"{self.page.url}: {message.text}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.faults.append(f"{response.url}: {response.status}")

    def findings(self, *, in_dark: bool = True) -> list[str]:
        """What axe-core finds serious or critical, by default in both themes, which differ in colours alone."""
        self.page.emulate_media(color_scheme="light")
        self.page.evaluate(AXE.read_text("utf-8"))
        found = [f"light: {each}" for each in self.page.evaluate(FINDINGS, None)]
        if in_dark:
            self.page.emulate_media(color_scheme="dark")
            found += [f"dark: {each}" for each in self.page.evaluate(FINDINGS, ["color-contrast"])]
            self.page.emulate_media(color_scheme="light")
        return found

    def too_wide(self) -> dict[int, str]:
        """The widths of the window at which the page scrolls sideways, and what reaches out."""
        found = {}
        for width in WIDTHS:
            self.page.set_viewport_size({"width": width, "height": HEIGHT})
            if said := self.page.evaluate(TOO_WIDE):
                found[width] = said
        self.page.set_viewport_size({"width": WIDE["width"], "height": HEIGHT})
        return found

    def links(self) -> list[str]:
        """The paths of the dashboard that this page links to, with their queries."""
        found = self.page.eval_on_selector_all("a[href^='/ui']", "all => all.map(a => a.getAttribute('href'))")
        return [re.sub("#.*", "", each) for each in found]
