"""Nodes of a Ray cluster: what they lack is told."""

import io
import os
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dsnet import __version__
from dsnet.archive.blocks import Block
from dsnet.data.store.stage import Recipe
from worker_jobs import Job

ray = pytest.importorskip("ray")
from ray import cloudpickle  # noqa: E402

from dsnet.archive import nodes  # noqa: E402


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """An archive, a store, and the driver's folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("images", "store"):
        (tmp_path / name).mkdir()
    (tmp_path / "images" / "one.png").touch()
    return SimpleNamespace(
        images=tmp_path / "images", recipe=Recipe(str(tmp_path / "store"), 16, b"")
    )


def test_a_node_that_sees_everything_lacks_nothing(archive, monkeypatch):
    places = ["images", archive.images / "one.png", "s3://bucket/images", ""]
    with nodes.needs_of(archive.recipe, places) as needs:
        monkeypatch.chdir("/")
        assert nodes.lacking(needs) == ""
        # Where the driver is, paths mean the same.
        assert Path.cwd() == archive.images.parent
        assert os.listdir(archive.recipe.path) == [Path(needs["sign"]).name]
    assert not os.listdir(archive.recipe.path)


def test_what_a_node_lacks_is_told(archive, monkeypatch):
    with nodes.needs_of(archive.recipe, [archive.images]) as needs:
        code, labels = needs["digests"]
        assert "has other code than the driver's" in nodes.lacking(
            {**needs, "digests": ("", labels)}
        )
        assert "has other labels than" in nodes.lacking({**needs, "digests": (code, "")})
        (archive.images / "one.png").rename(archive.images / "two.png")
        assert (
            nodes.lacking(needs)
            == f"archive is not there, or another one: no {archive.images}/one.png"
        )
        (archive.images / "two.png").rename(archive.images / "one.png")
        assert nodes.lacking({**needs, "folder": "/nowhere"}) == ""
        assert Path.cwd() == Path("/")
        told = nodes.lacking({**needs, "folder": "/nowhere", "relative": True})
        assert told.startswith("driver's folder is not there (") and "absolute" in told
        # Nobody can write there, and a file is there.
        assert nodes.lacking({**needs, "sign": "/proc/version"}).startswith(
            "store's folder cannot be written: "
        )
        Path(needs["sign"]).unlink()
        assert nodes.lacking(needs).startswith(f"{archive.recipe.path} is not the driver's: ")


def test_a_store_at_an_address_needs_no_folder(archive):
    with nodes.needs_of(Recipe("s3://bucket/store", 16, b"")) as needs:
        assert needs["sign"] is None and nodes.lacking(needs) == ""


def test_relative_places_need_the_driver_s_folder(archive):
    with nodes.needs_of(archive.recipe, ["images"]) as needs:
        assert needs["relative"] and needs["places"] == [str(archive.images / "one.png")]


def test_an_actor_gives_its_gpu_no_more_than_fits():
    class Large(Job):
        weight = 100

    blocks = []
    actor = object.__new__(nodes.labeller())
    actor._crew = SimpleNamespace(add=lambda block: blocks.append(block) or made)
    made = SimpleNamespace(results=[])
    jobs = tuple(Large(number) for number in range(20))
    assert actor.label(Block(jobs, Recipe("nowhere", 16, b"")), "cuda") == []
    (block,) = blocks
    assert [len(group.jobs) for group in block.jobs] == [6, 6, 6, 2]
    assert {group.device for group in block.jobs} == {"cuda"}


class WithoutDsnet(pickle.Unpickler):
    """As on a node where dsnet is not installed."""

    def find_class(self, module, name):
        if module.partition(".")[0] == "dsnet":
            raise ModuleNotFoundError(f"No module named {module!r}")
        return super().find_class(module, name)


def test_a_node_without_dsnet_says_so(monkeypatch):
    kind = WithoutDsnet(io.BytesIO(cloudpickle.dumps(nodes.labeller()))).load()
    monkeypatch.setattr(ray, "get_runtime_context",
                        lambda: SimpleNamespace(get_node_id=lambda: "7"))  # fmt: skip
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "10.0.0.7")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "dsnet", None)
        told = kind({"version": "0.1.0"}).ready()
    assert told["node"] == "7" and told["name"].startswith("10.0.0.7 (")
    assert told["lacks"].startswith(f"Python has no dsnet 0.1.0 ({sys.executable} in ")
    assert kind({"version": "9.0"}).ready()["lacks"] == f"dsnet is {__version__}, the driver's 9.0"
