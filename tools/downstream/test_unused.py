"""
A suite that does not use the plugin.
"""


def test_nothing_is_imported():
    import sys

    assert "_crochet_pytest" in sys.modules
    assert "crochet" not in sys.modules
