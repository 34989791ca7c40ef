"""One headless Chromium for all tests of this folder, and the pages they look at.

The browser is the machine's own; where there is none, or no Playwright, the tests are
skipped and say so. Nothing is downloaded.
"""

import shutil

import pytest

from backtests.report import ReportInputs, write_report
from tests.backtests.report_cases import full, made_parts

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--no-sandbox",  # containers give no user namespaces; the page is our own file
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
)
WIDTHS = (390, 1280)
SCHEMES = ("light", "dark")


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="no Playwright for Python: browser tests skipped"
    )
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium on this machine (tests/browser/install.sh)")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=path, args=list(QUIET))
        yield found
        found.close()


@pytest.fixture(scope="session")
def reports(tmp_path_factory):
    """Two reports: everything there is, and a stress alone."""
    folder = tmp_path_factory.mktemp("reports")
    parts = made_parts()
    return {
        "full": write_report(folder / "full.html", full(parts)),
        "stress": write_report(
            folder / "stress.html", ReportInputs("Stress alone", parts[False][0])
        ),
    }


@pytest.fixture
def opened(browser):
    """Open a file; console, errors and every request but its own are collected."""
    contexts = []

    def open_page(path, *, width=1280, scheme="light", script=True, **options):
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            java_script_enabled=script,
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        trouble = []
        page.on("console", lambda said: trouble.append(f"console: {said.text}"))
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))

        def route(request):
            if request.request.url == path.as_uri():
                request.continue_()
            else:
                trouble.append(f"request: {request.request.url}")
                request.abort()

        page.route("**/*", route)
        page.goto(path.as_uri())
        return page, trouble

    yield open_page
    for context in contexts:
        context.close()
