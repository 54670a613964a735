"""The demo behind `sqla-typedpool demo`: two pools under the same real load, then typed rows.

Parts, in the order a run uses them: `target` (which database), `load` (the callers), `leg` (the
script both pools play), `figures` (what was measured), `scene` (an error message), `rows` (typed
rows, and one refused), `logbook` (what was logged meanwhile), `report`, `show` and `live` (what is
printed), `interrupt` (a clean stop), and `run`, which tells the story with all of them.
"""

from sqla_typedpool.demo.run import Options, run
from sqla_typedpool.demo.target import DemoError

__all__ = ["DemoError", "Options", "run"]
