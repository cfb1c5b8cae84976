"""Renders scenes: depth.npy [scenes, 256, 256], rgb.npy [scenes, 3 looks, 256, 256, 3], both uint8, and captions.json.

    python make_data.py DATA SCENES

Seeds start at 1000; those below are left for scenes that no training sees.
"""

import json
import os
import sys
from multiprocessing import Pool

import numpy as np
from render import sample

FIRST_SEED = 1000
LOOKS = 3
SIDE = 256


def render(index):
    depth, looks = sample(FIRST_SEED + index, LOOKS, SIDE)
    return index, depth, np.stack([image for image, _ in looks]), [caption for _, caption in looks]


def main(data, count):
    os.makedirs(data, exist_ok=True)
    depths = np.lib.format.open_memmap(f"{data}/depth.npy", "w+", np.uint8, (count, SIDE, SIDE))
    images = np.lib.format.open_memmap(f"{data}/rgb.npy", "w+", np.uint8, (count, LOOKS, SIDE, SIDE, 3))
    captions = [None] * count
    with Pool() as pool:
        for done, (i, depth, looks, texts) in enumerate(pool.imap_unordered(render, range(count), chunksize=8)):
            depths[i], images[i], captions[i] = depth, looks, texts
            if done % 500 == 0:
                print(f"{done} of {count}", flush=True)
    with open(f"{data}/captions.json", "w") as file:
        json.dump(captions, file)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
