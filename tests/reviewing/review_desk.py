"""Labels to review, and a page of a reader's without the browser."""

from urllib.parse import quote

import numpy as np

from dsnet.data.phantom import make_phantom
from dsnet.data.store import LabelRecord
from dsnet.labeling import label_recist

TOKEN = "a-token-of-the-tests"


def labelled(key, seed=0, kind="solid", size=48, **rest):
    """A phantom's label."""
    phantom = make_phantom(kind, size, seed)
    label = label_recist(phantom.image, phantom.mark)
    fields = {
        "image": phantom.image,
        "alpha": label.alpha,
        "binary": label.binary,
        "trimap": label.trimap,
        "mark": phantom.mark.coordinates,
        "spacing": phantom.spacing,
        "quality": dict(label.quality),
        "notes": label.notes,
        "source": f"{key}.png",
        "metadata": {"lesion_type": "lung", "dice": 0.5, "row": seed},
    }
    return LabelRecord(key, **{**fields, **rest})


class Reader:
    """A page of one reader's, without the browser."""

    def __init__(self, client, name="Ann", token=TOKEN):
        self._client, self.name = client, name
        self.headers = {"X-DSNet-Token": token, "X-DSNet-Reader": quote(name)}

    def ask(self, path, status=200, **params):
        """The answer of a GET below /api/, which must have that status."""
        assert "?" not in path  # `params` would replace it.
        found = self._client.get(f"/api/{path}", params=params, headers=self.headers)
        return _checked(found, status)

    def tell(self, path, status=200, **body):
        """The answer of a POST."""
        found = self._client.post(f"/api/{path}", json=body, headers=self.headers)
        return _checked(found, status)

    def indices(self, **params):
        """Of the queue."""
        return [item["index"] for item in self.ask("queue", **params)["items"]]


def _checked(found, status):
    assert found.status_code == status, found.text
    return found.json() if "json" in found.headers["content-type"] else found


def planes(answer):
    """Name to plane [H, W] of the bytes that a server sends."""
    magic, height, width, bits = np.frombuffer(answer.content[:16], "<u4").tolist()
    assert magic.to_bytes(4, "little") == b"DSN1"
    names = ("image", "alpha", "trimap", "binary", "truth")
    there = [name for i, name in enumerate(names) if bits >> i & 1]
    found, at = {}, 16
    for name in there:
        kind = np.dtype("<u2" if name == "image" else np.uint8)
        plane = np.frombuffer(answer.content, kind, height * width, at).reshape(height, width)
        found[name], at = plane, at + plane.nbytes
    assert at == len(answer.content)
    return found
