"""The demonstration: real clouds are classified, certified, attacked, and reported on one page."""

from stablerank.demo.data import round_epsilons, split_clouds
from stablerank.demo.run import run_demo
from stablerank.demo.settings import Settings

__all__ = ["Settings", "round_epsilons", "run_demo", "split_clouds"]
