"What a widget has drawn: for tests of the drawings, and of the page in a browser."

import numpy as np


def halves(px):
    "The two tiles of a drawing, without the gap between them."
    return px[:, : (px.shape[1] - 4) // 2], px[:, (px.shape[1] + 4) // 2 :]


def magenta(px):
    "How many pixels have the colour of holes."
    return (np.abs(px.astype(int) - (255, 0, 170)).max(-1) < 60).sum()


def near(a, b, most=6):
    "Whether two pictures differ by little, in the mean of their bytes."
    return np.abs(a.astype(int) - b).mean() < most
