"""A real Docker Engine for tests, gone after them, and base images made on the spot.

No image registry and no running Docker is needed: `daemon.running_engine` starts a `dockerd` of its
own, `images` imports base images that it makes from the files of this machine. The fixtures are in
`fixtures`; a test that uses them carries the mark `engine`.
"""

from engine.daemon import Engine, EngineUnavailableError, running_engine

__all__ = ["Engine", "EngineUnavailableError", "running_engine"]
