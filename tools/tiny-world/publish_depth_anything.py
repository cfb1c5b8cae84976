"""Lays the trained Depth Anything out like the models on the Hub, in float16.

    python publish_depth_anything.py DEPTH_ANYTHING OUT
"""

import sys

from publish import publish_estimator

if __name__ == "__main__":
    publish_estimator(*sys.argv[1:3])
