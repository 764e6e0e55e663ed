"""One minute of 1080p with sound: memory, time and what is lost, on this machine.

python docs/film_minute.py [SECONDS] — with nothing else running; it says what it found."""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from scz_nb.films.convert import convert
from scz_nb.films.pairs import Frame, Look, Plan, make_pair
from scz_nb.geometry.comfort import Bars
from scz_nb.media.film import frames_of_film, probe
from scz_nb.media.io import ffmpeg_exe


def near_disc(small):
    "Disparity without a network: a floor, and a disc that stands on it."
    n, h, w, _ = small.shape
    y, x = np.mgrid[:h, :w].astype(np.float32)
    disc = (x - w / 2) ** 2 + (y - h / 2) ** 2 < (h / 4) ** 2
    return np.broadcast_to(np.where(disc, 1, 0.6 * y / h), (n, h, w))


def ffmpeg(*words):
    "Seconds that ffmpeg takes."
    begin = time.monotonic()
    command = [ffmpeg_exe(), '-y', '-loglevel', 'error', *map(str, words)]
    subprocess.run(command, check=True)
    return time.monotonic() - begin


def sound(path):
    "Checksums and times of the sound's packets."
    words = ['-loglevel', 'error', '-i', str(path), '-map', '0:a', '-c', 'copy', '-f', 'framecrc']
    return subprocess.run([ffmpeg_exe(), *words, '-'], capture_output=True).stdout


def alone(film, n: int = 32) -> float:
    "Frames a second of warp and filling, without reading and writing."
    from concurrent.futures import ThreadPoolExecutor

    picture = next(frames_of_film(film)).picture
    plan = Plan(Frame(picture, 0, 1), near_disc(picture[None, ::4, ::4])[0], 0.4, Bars(0, 0))
    make_pair(plan, Look())
    begin = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(make_pair, [plan] * n, [Look()] * n))
    return n / (time.monotonic() - begin)


def main(seconds: int = 60):
    "Make the film, convert it, and say what came out."
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        words = ['-f', 'lavfi', '-i', f'testsrc2=s=1920x1080:r=25:d={seconds}']
        words += [
            '-f',
            'lavfi',
            '-i',
            f'sine=d={seconds}',
            '-c:v',
            'libx264',
            '-preset',
            'veryfast',
        ]
        ffmpeg(*words, '-pix_fmt', 'yuv420p', folder / 'film.mp4')
        again = ['-c:v', 'libx264', '-preset', 'veryfast', '-crf', 16, '-c:a', 'copy']
        own = ffmpeg('-i', folder / 'film.mp4', *again, folder / 'again.mp4')
        begin = time.monotonic()
        made = convert(folder / 'film.mp4', folder / 'out', near_disc, fill='background')
        took = time.monotonic() - begin
        old, new = probe(folder / 'film.mp4'), probe(made)
        same = sound(made) == sound(folder / 'film.mp4')
        fps = new.frames / took
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            f'frames {old.frames} → {new.frames}, lasts {old.duration:.3f} → {new.duration:.3f} s'
        )
        print(f'sound is {"the same, packet by packet" if same else "NOT the same"}')
        print(f'peak memory {peak:.2f} GB')
        print(
            f'{fps:.1f} frames a second; ffmpeg encodes the film itself at {old.frames / own:.1f}'
        )
        print(f'that is {took / own:.1f} times its time, for twice the pixels')
        print(f'warp and filling alone, two threads: {alone(old):.1f} frames a second')


if __name__ == '__main__':
    main(*map(int, sys.argv[1:]))
