"Small films, made by ffmpeg."

import struct
import subprocess

from scz_nb.media.io import ffmpeg_exe

X264 = '-c:v libx264 -preset ultrafast -pix_fmt yuv420p'.split()
TONE = '-f lavfi -i sine=d=1'.split()


def ffmpeg(folder, *words):
    "Run ffmpeg in a folder."
    command = [ffmpeg_exe(), '-y', '-loglevel', 'error', *map(str, words)]
    subprocess.run(command, check=True, cwd=folder, stdin=subprocess.DEVNULL)


def picture(size='96x64', rate=10, seconds=1, more=''):
    "Options for a moving test picture."
    return ['-f', 'lavfi', '-i', f'testsrc2=s={size}:r={rate}:d={seconds}{more}']


def decoded(path, size, pixels='rgb24'):
    "All frames of a film as the ffmpeg program shows them, upright."
    import numpy as np

    command = [ffmpeg_exe(), '-loglevel', 'error', '-i', str(path), '-fps_mode', 'passthrough']
    command += ['-sws_flags', 'bicubic+accurate_rnd+full_chroma_int']
    command += ['-pix_fmt', pixels, '-f', 'rawvideo', '-']
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, size[1], size[0], 3)


def frame_times(path):
    "Time and duration of each frame in seconds, by ffmpeg's framecrc."
    command = [ffmpeg_exe(), '-loglevel', 'error', '-i', str(path), '-map', '0:v', '-c', 'copy']
    out = subprocess.run(
        [*command, '-f', 'framecrc', '-'], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    tick = next(line.split()[-1] for line in out if line.startswith('#tb'))
    unit = eval(tick, {'__builtins__': {}})
    rows = [[int(x) for x in line.split(',')[1:4]] for line in out if line[0] != '#']
    return sorted((pts * unit, lasts * unit) for _, pts, lasts in rows)


def sound(path):
    "Checksums of a film's sound packets, with their times."
    command = [ffmpeg_exe(), '-loglevel', 'error', '-i', str(path), '-map', '0:a', '-c', 'copy']
    out = subprocess.run([*command, '-f', 'framecrc', '-'], capture_output=True, text=True).stdout
    return [line for line in out.splitlines() if line[0] != '#']


# boxes
CONTAINERS = {
    'moov',
    'trak',
    'mdia',
    'minf',
    'stbl',
    'vexu',
    'eyes',
    'proj',
    'pack',
    'cams',
    'cmfy',
}


def tree(data):
    "A file's boxes as nested lists of (name, content), from the standard alone."
    out = []
    while data:
        size, name = struct.unpack('>I4s', data[:8])
        head = 8
        if size == 1:
            (size,) = struct.unpack('>Q', data[8:16])
            head = 16
        body, data = data[head:size], data[size:]
        name = name.decode('latin-1')
        if name in CONTAINERS:
            body = tree(body)
        elif name == 'stsd':
            body = tree(body[8:])
        elif name in ('avc1', 'hvc1'):
            body = tree(body[78:])  # after the fields of a visual sample entry
        out.append((name, body))
    return out


def find(boxes, *names):
    "The content of the first box on a way of names."
    for name in names:
        boxes = next(body for kind, body in boxes if kind == name)
    return boxes
