"Scenes whose warped view is known by hand."

import numpy as np


def card(H=6, W=40):
    """A red card at disparity 1 in columns 16–23, before a wall of disparity 0.25.

    The wall's columns tell where they are. At scale 20 the card moves 8 pixels, the wall 2."""
    left = np.zeros((2, H, W, 3), np.uint8)
    near = np.full((2, H, W), 0.25)
    left[..., 1] = 5 * np.arange(W)
    left[:, :, 16:24] = (200, 0, 0)
    near[:, :, 16:24] = 1
    return left, near
