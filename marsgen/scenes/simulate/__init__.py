"""Simulated Mars: any number of navcam-like scenes with crowd-like label maps, for a machine without data.

A scene is ground seen in perspective, textured from an atlas of relief tiles that is computed once per process, and lit
by the sun of its rover stop. Rocks lie on it. Sky, hills, rover parts and the camera's noise come last. Scene `index`
depends on (config, index) alone: any process can draw any part of the set in any order and gets the same bytes.

scene.py     simulate_scene: one scene from its number
config.py    SimulationConfig, class ids, random streams
noise.py     random fields
tiles.py     atlas of ground tiles
camera.py    look of a rover stop, view of a scene, light -> picture
ground.py    which ground lies where, and its light
rocks.py     rocks and their shadows
overlays.py  sky, rover, foreign pictures of outliers
labels.py    label maps of a crowd
"""

from marsgen.scenes.simulate.config import MARS_IDS, SimulationConfig
from marsgen.scenes.simulate.scene import is_outlier, simulate_scene, simulate_stop

__all__ = ["MARS_IDS", "SimulationConfig", "is_outlier", "simulate_scene", "simulate_stop"]
