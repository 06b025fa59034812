"""Time of a dual bootstrap beside rsatoolbox's, on random matrices of the same size: comparisons_peer.py EXAMPLE [STIMULI …]

EXAMPLE is the built `comparison_speed`. Both use one thread less or more as they choose; CPU seconds are printed beside. Rho-a is
measured with a tenth of the samples: rsatoolbox takes seconds for each.
"""

import resource
import subprocess
import sys
import time
import warnings

import numpy as np

warnings.filterwarnings("ignore")
import rsatoolbox as rsa
from rsatoolbox.inference.evaluate import eval_dual_bootstrap
from rsatoolbox.rdm import RDMs

SYSTEMS, SUBJECTS = 10, 20


def cpu():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def timed(work):
    wall, used = time.monotonic(), cpu()
    work()
    return time.monotonic() - wall, cpu() - used


def main():
    for stimuli in map(int, sys.argv[2:] or ["200"]):
        rng = np.random.default_rng(0)
        random = lambda count: RDMs(rng.random((count, stimuli * (stimuli - 1) // 2)) + 0.1)
        models, brain = random(SYSTEMS), random(SUBJECTS)
        fixed = [rsa.model.ModelFixed(f"m{at}", models.subset("index", at)) for at in range(SYSTEMS)]
        for comparison, samples in [("cosine", 100), ("rho-a", 10)]:
            size = [str(v) for v in (stimuli, SYSTEMS, SUBJECTS, samples)]
            own = timed(lambda: subprocess.run([sys.argv[1], *size, comparison], check=True))
            peer = timed(lambda: eval_dual_bootstrap(fixed, brain, method=comparison, N=samples, k_pattern=1, k_rdm=1))
            print(
                f"{stimuli} stimuli, {SYSTEMS} systems, {SUBJECTS} subjects, {samples} samples, {comparison}: "
                f"Kenyon {own[0]:.1f} s ({own[1]:.1f} CPU s), rsatoolbox {peer[0]:.1f} s ({peer[1]:.1f} CPU s), "
                f"{peer[0] / own[0]:.0f} times, {peer[1] / own[1]:.0f} times in CPU seconds"
            )


main()
