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


def smooth_texture(width=80, frames=2, seed=0, height=40):
    "A smooth random picture (frames, height, width, 3), uint8, from 30 to 200."
    from scipy.ndimage import zoom

    x = np.random.default_rng(seed).random((height // 4, width // 4, 3))
    x = 30 + 170 * zoom(x, (4, 4, 1), order=1)
    return np.stack([x.astype(np.uint8)] * frames)


def smooth_pair(k, width=64):
    "A left view, and a right view in which all lies k pixels further right."
    x = smooth_texture()
    return x[:, :, 8 : 8 + width], x[:, :, 8 - k : 8 - k + width]


def disparity_card():
    """A textured card of disparity 1 before a textured wall of disparity 0.25, as a `Clip`.

    At baseline 0.125 they shift by 8 and 2 pixels; both views are drawn, with their disparity."""
    import torch

    from scz_nb.world.render import Clip

    wall, card = smooth_texture(96)[:, :, :80], smooth_texture(16, seed=1)

    def view(shift):
        pixels = wall[:, :, 2 * shift : 2 * shift + 64].copy()
        near = np.full((2, 40, 64), 0.25)
        x = 30 - 8 * shift
        pixels[:, 10:30, x : x + 16] = card[:, 10:30]
        near[:, 10:30, x : x + 16] = 1
        return torch.from_numpy(pixels / 255.0), torch.from_numpy(near)

    (left, near), (right, right_near) = view(0), view(1)
    return Clip(left, near, '', right, right_near, None)
