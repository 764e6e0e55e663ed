"""One minute of 1080p with sound: memory, time and what is lost, on this machine.

python docs/film_minute.py [SECONDS] — with nothing else running; it says what it found, and
whether that is what was promised. About three minutes of two idle cores for a minute of film."""

import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import numpy as np

from scz_nb.films.convert import convert
from scz_nb.films.pairs import Frame, Look, Plan, make_pair
from scz_nb.geometry import native
from scz_nb.geometry.comfort import Bars
from scz_nb.media.film import frames_of_film, probe
from scz_nb.media.io import ffmpeg_exe

CODING = '-c:v libx264 -preset veryfast'.split()


def near_disc(small):
    "Disparity without a network: a floor, and a disc that stands on it."
    n, h, w, _ = small.shape
    y, x = np.mgrid[:h, :w].astype(np.float32)
    disc = (x - w / 2) ** 2 + (y - h / 2) ** 2 < (h / 4) ** 2
    return np.broadcast_to(np.where(disc, 1, 0.6 * y / h), (n, h, w))


def ffmpeg(*words) -> float:
    "Seconds that ffmpeg takes."
    begin = time.monotonic()
    command = [ffmpeg_exe(), '-y', '-loglevel', 'error', *map(str, words)]
    subprocess.run(command, check=True)
    return time.monotonic() - begin


def make_film(path, seconds: int):
    "A moving test picture of 1080p with a tone."
    picture = '-f', 'lavfi', '-i', f'testsrc2=s=1920x1080:r=25:d={seconds}'
    tone = '-f', 'lavfi', '-i', f'sine=d={seconds}'
    ffmpeg(*picture, *tone, *CODING, '-pix_fmt', 'yuv420p', path)


def sound(path) -> bytes:
    "Checksums and times of the sound's packets."
    words = ['-loglevel', 'error', '-i', str(path), '-map', '0:a', '-c', 'copy', '-f', 'framecrc']
    return subprocess.run([ffmpeg_exe(), *words, '-'], capture_output=True).stdout


def alone(film, n: int = 32) -> tuple:  # frames a second, seconds of a core a frame
    "How fast warp and filling are, without reading and writing, in two threads."
    picture = next(frames_of_film(film)).picture
    plan = Plan(Frame(picture, 0, 1), near_disc(picture[None, ::4, ::4])[0], 0.4, Bars(0, 0))
    make_pair(plan, Look())
    begin, used = time.monotonic(), time.process_time()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(make_pair, [plan] * n, [Look()] * n))
    return n / (time.monotonic() - begin), (time.process_time() - used) / n


def say(words: str, kept: bool):
    print(f'{"ok " if kept else "NOT"} {words}', flush=True)


def converted(folder, film):
    "Convert the film, and say what came out."
    again = ffmpeg('-i', film.path, *CODING, '-crf', 16, '-c:a', 'copy', folder / 'again.mp4')
    begin = time.monotonic()
    made = convert(film.path, folder / 'out', near_disc, fill='background')
    took = time.monotonic() - begin
    new = probe(made)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    apart = abs(film.duration - new.duration)
    say(f'frames {film.frames} → {new.frames}', film.frames == new.frames)
    say(f'lasts {film.duration:.3f} → {new.duration:.3f} s', apart < 0.001)
    say('sound the same, packet by packet, with its times', sound(made) == sound(film.path))
    say(f'peak memory {peak:.2f} GB, of 2', peak < 2)
    ratio = took / again
    print(f'    {new.frames / took:.1f} frames a second, ffmpeg alone {film.frames / again:.1f}:')
    print(f'    {ratio:.1f} times the time of its own encoding of the film, for twice the pixels')


def main(seconds: int = 60):
    "Make the film, convert it, and say what came out."
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'film.mp4'
        make_film(path, seconds)
        film = probe(path)
        converted(Path(folder), film)  # first: its peak of memory is the process's
        for name, loops in {'with numba': native.compiled_sources(), 'without': None}.items():
            with mock.patch.object(native, 'compiled_sources', return_value=loops):
                fps, core = alone(film)
            words = f'warp and filling alone, two threads, {name}: {fps:.1f} frames a second, of 8'
            say(f'{words} ({1000 * core:.0f} ms of a core each)', fps >= 8)


if __name__ == '__main__':
    main(*map(int, sys.argv[1:]))
