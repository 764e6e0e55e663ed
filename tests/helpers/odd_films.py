"""Odd films, and what `scz-nb convert` does with each: the table nbs/tables/odd_films.md.

python tests/helpers/odd_films.py   (with the folder tests in PYTHONPATH) writes it again
"""

import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.films import TONE, X264, ffmpeg, picture, sound
from scz_nb.apps.cli import main
from scz_nb.media.film import frames_of_film, probe

root = Path(__file__).parents[2]
short = picture(rate=3)
hdr = '-vf format=yuv420p10le,setparams=color_primaries=bt2020:color_trc={}:colorspace=bt2020nc'
fields = '-vf tinterlace=interleave_top,setfield=tff -flags +ildct+ilme'.split()
uneven = ['-vf', "setpts='if(lt(N,4),N,3*N-8)/10/TB'", '-fps_mode', 'passthrough']

MADE = {  # what it is: file, words for ffmpeg
    'turned by a quarter, as phones do': (
        'turned.mp4',
        ['-display_rotation', 90, '-i', 'plain.mp4', '-c', 'copy'],
    ),
    'anamorphic, pixels 4:3': ('broad.mp4', ['-i', 'plain.mp4', '-vf', 'setsar=4/3', *X264]),
    'interlaced': ('fields.mp4', [*picture(rate=20), *fields, *X264]),
    'uneven frame times': ('uneven.mp4', ['-i', 'plain.mp4', *uneven, '-an', *X264]),
    '10 bits, H.265': (
        'ten.mp4',
        [*short, '-c:v', 'libx265', '-x265-params', 'log-level=none', '-pix_fmt', 'yuv420p10le'],
    ),
    'HDR, PQ': ('pq.mp4', [*short, *hdr.format('smpte2084').split(), '-c:v', 'libx264']),
    'HDR, HLG': ('hlg.mp4', [*short, *hdr.format('arib-std-b67').split(), '-c:v', 'libx264']),
    'odd sides, 97×63': (
        'odd.mp4',
        [*short, '-vf', 'scale=97:63,setsar=1,format=yuv444p', '-c:v', 'libx264'],
    ),
    'one frame': ('one.mp4', ['-i', 'plain.mp4', '-frames:v', 1, '-an', *X264]),
    'three frames': ('three.mp4', ['-i', 'plain.mp4', '-frames:v', 3, '-an', *X264]),
    'transparent, ProRes': (
        'clear.mov',
        [*short, '-pix_fmt', 'yuva444p10le', '-c:v', 'prores_ks'],
    ),
    'GIF': ('moving.gif', picture(rate=5)),
    'colours at full size, 4:4:4': (
        'full.mp4',
        [*short, '-c:v', 'libx264', '-pix_fmt', 'yuv444p'],
    ),
    'gray': ('gray.mp4', [*short, '-c:v', 'libx264', '-pix_fmt', 'gray']),
    'upright 4K': ('upright.mp4', [*picture('2160x3840', rate=3), *X264]),
    'tiny, 16×16': ('tiny.mp4', [*picture('16x16', rate=3), *X264]),
    'a recording that begins late': ('late.ts', ['-i', 'plain.mp4', '-c', 'copy']),
    'AVI, MPEG-4': ('old.avi', [*short, '-c:v', 'mpeg4']),
    'WebM, VP8 and Vorbis': (
        'web.webm',
        [*short, *TONE, '-c:v', 'libvpx', '-c:a', 'libvorbis'],
    ),
    'subtitles and chapters': (
        'all.mkv',
        ['-i', 'plain.mp4', '-i', 's.srt', '-i', 'c.txt', '-map_metadata', 2, '-c', 'copy'],
    ),
    'sound alone': ('sound.m4a', TONE),
}


def moving_webp(path):
    steps = [Image.new('RGB', (96, 64), (40 * i, 90, 0)) for i in range(5)]
    steps[0].save(path, save_all=True, append_images=steps[1:], duration=[100, 200, 50, 400, 250])


def cut_off(path):
    data = path.with_name('plain.mp4').read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])


def without_rights(path):
    path.write_bytes(path.with_name('plain.mp4').read_bytes())
    path.chmod(0)


WRITTEN = {  # what it is: file, function of its path
    'moving WebP': ('moving.webp', moving_webp),
    'cut off': ('cut.mp4', cut_off),
    'a text with the name of a film': ('text.mp4', lambda p: p.write_text('no film\n' * 99)),
    'empty': ('empty.mp4', lambda p: p.touch()),
    'not there': ('nowhere.mp4', lambda p: None),
    'a folder': ('folder.mp4', lambda p: p.mkdir()),
    'a file without rights': ('closed.mp4', without_rights),
}


def make_sources(folder):
    "The plain film that others are made from, and what lies beside it."
    faststart = '-movflags', 'faststart'
    ffmpeg(folder, *picture(), *TONE, *X264, *faststart, 'plain.mp4')
    (folder / 's.srt').write_text('1\n00:00:00,100 --> 00:00:00,200\nA line\n')
    chapter = '[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=500\ntitle=One\n'
    (folder / 'c.txt').write_text(f';FFMETADATA1\n{chapter}')
    near = np.linspace(0, 1, 12, dtype=np.float32)[None, :, None].repeat(16, 2)
    np.save(folder / 'near.npy', near)


def make(folder, what) -> Path:
    "One of the odd films."
    if what in MADE:
        name, words = MADE[what]
        ffmpeg(folder, *words, name)
    else:
        name, write = WRITTEN[what]
        write(folder / name)
    return folder / name


@contextlib.contextmanager
def as_nobody():
    "Rights do not bind root; in this block it is somebody else, as far as files go."
    if not hasattr(os, 'geteuid') or os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def converted(folder, path) -> tuple:
    "Status, what was said, and the files that came out."
    out, said = folder / f'out-{path.name}', io.StringIO()
    words = ['convert', str(path), '--depth', str(folder / 'near.npy'), '--out', str(out)]
    guard = as_nobody() if path.name == 'closed.mp4' else contextlib.nullcontext()
    with guard, contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        status = main([*words, '--quiet'])
    files = [p for p in out.glob('*') if p.suffix != '.json'] if out.is_dir() else []
    return status, said.getvalue().strip().replace(f'{folder}/', ''), files


def film_facts(path) -> str:
    "Size, frames, seconds and what is special of a film."
    film = probe(path)
    count, first, end = 0, None, 0
    for frame in frames_of_film(film):
        first = frame.time if first is None else first
        count, end = count + 1, frame.time + frame.lasts
    seconds = film.duration or float((end - first) * film.tick)
    special = [film.transfer] if film.is_hdr else []
    special += [f'pixels {film.aspect}'] if film.aspect != 1 else []
    special += ['interlaced'] if film.interlaced else []
    special += [f'{film.bits} bits'] if film.bits > 8 else []
    special += [kind for kind in film.others if kind != 'data']
    return ', '.join([f'{film.width}×{film.height}, {count} frames, {seconds:.2f} s', *special])


def row(folder, what) -> tuple:  # what it is, what it was, what came out, what was said
    "What happens with one film."
    path = make(folder, what)
    status, said, files = converted(folder, path)
    said = ' '.join(line.removeprefix('scz-nb: ') for line in said.splitlines())
    if status:
        return what, '', f'nothing, status {status}', said
    (made,) = files
    before = film_facts(path)
    kept = ', sound equal' if sound(path) and sound(path) == sound(made) else ''
    return what, before, film_facts(made) + kept, said


def table(rows) -> str:
    "All of it as Markdown."
    head = '| film | what it is | the stereo film | what was said |\n| --- | --- | --- | --- |\n'
    return head + ''.join(f'| {" | ".join(r)} |\n' for r in rows)


def all_rows() -> list:
    "The table's rows; films lie in a folder that everybody may enter."
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        make_sources(folder)
        return [row(folder, what) for what in (*MADE, *WRITTEN)]


if __name__ == '__main__':
    text = table(all_rows())
    (root / 'nbs/tables/odd_films.md').write_text(text)
    sys.stdout.write(text)
