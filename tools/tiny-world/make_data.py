"""Renders scenes: depth.npy [scenes, side, side], rgb.npy [scenes, 3 looks, side, side, 3], both uint8, and captions.json.

    python make_data.py DATA SCENES [SIDE]

SIDE is 256 pixels by default; train_depth_anything.py needs no more than 128. Seeds start at 1000; those below are left for scenes that no training sees.
"""

import json
import os
import sys
from functools import partial
from multiprocessing import Pool

import numpy as np
from render import sample

FIRST_SEED = 1000
LOOKS = 3


def render(side, index):
    depth, looks = sample(FIRST_SEED + index, LOOKS, side)
    return index, depth, np.stack([image for image, _ in looks]), [caption for _, caption in looks]


def main(data, count, side=256):
    os.makedirs(data, exist_ok=True)
    depths = np.lib.format.open_memmap(f"{data}/depth.npy", "w+", np.uint8, (count, side, side))
    images = np.lib.format.open_memmap(f"{data}/rgb.npy", "w+", np.uint8, (count, LOOKS, side, side, 3))
    captions = [None] * count
    with Pool() as pool:
        for done, (i, depth, looks, texts) in enumerate(pool.imap_unordered(partial(render, side), range(count), chunksize=8)):
            depths[i], images[i], captions[i] = depth, looks, texts
            if done % 500 == 0:
                print(f"{done} of {count}", flush=True)
    with open(f"{data}/captions.json", "w") as file:
        json.dump(captions, file)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:4]))
