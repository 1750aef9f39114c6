"""How dsnet_emulation is found: given, or built with tools that must be there."""

import pytest

import emulation_module
from dsnet import _C
from emulation_module import ToolsMissing, emulation


def test_a_folder_that_is_given_is_not_built(monkeypatch, tmp_path):
    monkeypatch.setenv("DSNET_EMULATION_DIR", str(tmp_path))
    monkeypatch.setattr(emulation_module, "run", lambda *command: pytest.fail("it was built"))
    with pytest.raises((ImportError, FileNotFoundError), match="dsnet_emulation"):
        emulation_module.load.__wrapped__()


@pytest.mark.parametrize("missing", ["cmake", "ninja", "compiler"])
def test_missing_tools_skip_a_test_but_not_in_ci(monkeypatch, missing):
    tools = {"cmake", "ninja"} if missing == "compiler" else {"cmake", "ninja", "g++"} - {missing}
    monkeypatch.delenv("DSNET_EMULATION_DIR", raising=False)
    monkeypatch.setattr(emulation_module, "find_or_none", lambda name: name in tools or None)
    monkeypatch.setattr(emulation_module, "load", emulation_module.load.__wrapped__)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(ToolsMissing, match=missing):
        emulation.cut_block  # noqa: B018
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match=f"dsnet_emulation needs .*{missing}"):
        emulation.cut_block  # noqa: B018


def test_a_build_that_fails_tells_the_compilers_words():
    with pytest.raises(RuntimeError, match="dsnet_emulation was not built: an error"):
        emulation_module.run("sh", "-c", "echo an error >&2; exit 1")


def test_it_has_a_network_of_its_own():
    network = emulation_module.emulated_network()
    assert type(network) is emulation.EdgeNetwork
    assert network.bytes.nbytes == _C.EDGE_NETWORK_BYTES
