"""Runs per hour of a study on two Ray nodes of one core each, beside one such node, both on this machine.

    python benchmarks/cluster.py
    python benchmarks/cluster.py --seeds 4 --steps 60

Each turn starts a cluster, runs one study whose runs are alike (two arms on real scenes, so nothing waits for a set)
and stops the cluster. The whole command counts: imports, checks, runs, scores and report. One thread a run. The two
counts must be equal to the byte; the script says if they are not. Needs the extra `cluster` and two quiet cores.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STUDY = """
title: Runs per hour
seeds: {seeds}
baseline: real
train: {{unet: {{width: 16}}, steps: {steps}, batch_size: 16, validate_every: {steps}, precision: fp32, calibrate: 1}}
arms:
  real: {{title: as they come}}
  oversampled: {{title: oversampled, train: {{rare_fraction: 0.25}}}}
statistics: {{resamples: 200}}
"""
DATA = ("--data", "sim:100,rocks=0.4", "--test", "sim:40,seed=1,rocks=0.5,outliers=0")


def run_study(nodes: int, config: Path, out: Path) -> float:
    """Seconds that the study takes on a new cluster of so many nodes."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(nodes - 1):
        cluster.add_node(num_cpus=1)
    command = [sys.executable, "-m", "segmenter.cli", "study", str(config), *DATA, "--on", "ray", "--out", str(out)]
    start = time.perf_counter()
    try:
        # told the address, the command joins this cluster instead of starting its own
        subprocess.run(
            command, check=True, env=os.environ | {"RAY_ADDRESS": cluster.address}, stdout=subprocess.DEVNULL
        )
        return time.perf_counter() - start
    finally:
        cluster.shutdown()


def counts_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "counts").glob("*.npz"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    runs, rates, counts = 2 * options.seeds, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "study.yaml"
        config.write_text(STUDY.format(seeds=list(range(options.seeds)), steps=options.steps))
        for nodes in (1, 2):
            out = Path(folder) / f"on-{nodes}"
            seconds = run_study(nodes, config, out)
            rates[nodes], counts[nodes] = 3600 * runs / seconds, counts_of(out)
            print(f"{nodes} node{'s' * (nodes > 1)}: {runs} runs in {seconds:.0f} s, {rates[nodes]:.0f} runs per hour")
    print(f"ratio {rates[2] / rates[1]:.2f}; counts {'equal' if counts[1] == counts[2] else 'DIFFER'}")


if __name__ == "__main__":
    main()
