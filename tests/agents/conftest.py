"""Decode processes that the tests of agents share."""

from support.kept_workers import _processes_are_kept  # noqa: F401 - a fixture
