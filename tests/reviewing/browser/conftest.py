"""Fixtures: a browser, a store of phantoms, a server, readers."""

import os
import shutil

import pytest

from review_page import Reader, Served, phantom_records, write_store


# While it is open asyncio has a running loop in this thread: no longer than a file's tests.
@pytest.fixture(scope="module")
def chromium():
    names = (os.environ.get("DSNET_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if name and (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no chromium on this machine, and none named by DSNET_CHROMIUM")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    pytest.importorskip("starlette", reason="the extra `review` is not installed")
    pytest.importorskip("uvicorn", reason="the extra `review` is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("phantoms") / "store", phantom_records(36))


@pytest.fixture(scope="session")
def reviewed(phantoms, tmp_path_factory, forks):
    """A store that is looked at by one reader, Hedy, and not decided on."""
    copy = tmp_path_factory.mktemp("looked") / "store"
    shutil.copytree(phantoms, copy)
    served = Served(forks, copy).start()
    yield served
    served.kill()


@pytest.fixture
def serve(tmp_path, forks):
    """A copy of a store, served; `serve(store, *options)`."""
    running = []

    def start(store, *options):
        copy = tmp_path / f"store-{len(running)}"
        shutil.copytree(store, copy)
        served = Served(forks, copy, *options).start()
        running.append(served)
        return served

    yield start
    for served in running:
        served.kill()


@pytest.fixture
def read(chromium):
    """A reader with a browser window of their own: `read(served, name)`."""
    contexts, readers = [], []

    def begin(served, name="Ada", *, context=None, **options):
        if context is None:
            context = chromium.new_context(
                **{"viewport": {"width": 1280, "height": 720}, **options}
            )
            contexts.append(context)
        reader = Reader(context.new_page(), served, name)
        readers.append(reader)
        return reader.open()

    yield begin
    for context in contexts:
        context.close()
    assert [fault for reader in readers for fault in reader.faults] == []
