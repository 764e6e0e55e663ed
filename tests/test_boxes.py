"Stereo boxes, read back by a parser of the test's own and by ffmpeg's library."

import struct

import numpy as np
import pytest
from helpers.films import CONTAINERS, TONE, X264, decoded, ffmpeg, find, picture, sound, tree

from scz_nb.core import InputError
from scz_nb.media.boxes import mark_stereo, stereo_boxes


@pytest.fixture(scope='module', params=['a.mp4', 'a.mov', 'faststart.mp4'])
def film(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp('boxes')
    words = ['-movflags', 'faststart'] if 'faststart' in request.param else []
    ffmpeg(folder, *picture(), *TONE, *X264, *words, request.param)
    return folder / request.param


@pytest.mark.parametrize(
    'packing, st3d, pkin', [('side-by-side', 2, b'side'), ('top-bottom', 1, b'over')]
)
def test_bytes_are_what_the_formats_say(film, tmp_path, packing, st3d, pkin):
    path = tmp_path / film.name
    mark_stereo(film, path, stereo_boxes(packing, 63.4))
    boxes = tree(path.read_bytes())
    assert [name for name, _ in boxes] == ['ftyp', 'moov', 'mdat']
    entry = find(boxes, 'moov', 'trak', 'mdia', 'minf', 'stbl', 'stsd', 'avc1')
    zero = bytes(4)
    assert find(entry, 'st3d') == zero + bytes([st3d])
    assert find(entry, 'hfov') == struct.pack('>I', 63400)
    assert find(entry, 'vexu', 'eyes', 'stri') == zero + b'\x03'
    assert find(entry, 'vexu', 'eyes', 'hero') == zero + b'\x01'
    assert find(entry, 'vexu', 'eyes', 'cams', 'blin') == zero + struct.pack('>I', 63000)
    assert find(entry, 'vexu', 'eyes', 'cmfy', 'dadj') == zero + struct.pack('>i', 0)
    assert find(entry, 'vexu', 'proj', 'prji') == zero + b'rect'
    assert find(entry, 'vexu', 'pack', 'pkin') == zero + pkin
    assert {name for name, _ in entry} >= {'avcC', 'pasp'}


def test_only_the_picture_is_marked(film, tmp_path):
    path = tmp_path / film.name
    mark_stereo(film, path, stereo_boxes('side-by-side'))
    assert path.read_bytes().count(b'vexu') == 1
    moov = find(tree(path.read_bytes()), 'moov')
    assert sum(name == 'trak' for name, _ in moov) == 2


def test_the_film_still_plays(film, tmp_path):
    path = tmp_path / film.name
    mark_stereo(film, path, stereo_boxes('side-by-side'))
    assert (decoded(path, (96, 64)) == decoded(film, (96, 64))).all()
    assert sound(path) == sound(film)


def test_chunks_are_where_the_table_says(film, tmp_path):
    path = tmp_path / film.name
    mark_stereo(film, path, stereo_boxes('side-by-side'))

    def chunks(file):
        data, out = file.read_bytes(), []
        moov = find(tree(data), 'moov')
        for name, trak in moov:
            if name == 'trak':
                table = find(trak, 'mdia', 'minf', 'stbl', 'stco')
                places = struct.unpack(f'>{len(table) // 4 - 2}I', table[8:])
                out += [data[p : p + 40] for p in places]
        return out

    assert chunks(path) == chunks(film)


def test_ffmpegs_library_reads_them(film, tmp_path):
    import av

    path = tmp_path / film.name
    mark_stereo(film, path, stereo_boxes('top-bottom', 50.5))
    with av.open(str(path)) as c:
        side = next(c.decode(video=0)).side_data
        (stereo,) = [bytes(s) for s in side if s.type.name == 'STEREO3D']
    kind, _, view, eye, base, _, _, fov, unit = struct.unpack('4i I 4i', stereo)
    assert (kind, view, eye, base, fov / unit) == (2, 0, 1, 63000, 50.5)


def test_large_offsets_are_moved_too(film, tmp_path):
    "The same with a table of eight bytes (co64)."
    from scz_nb.media.boxes import box, parts_of, with_boxes

    data = film.read_bytes()
    moov = next(p for p in parts_of(data) if p.kind == 'moov')
    old = data[moov.begin : moov.end]

    def wide(part_data):
        out = b''
        for p in parts_of(part_data):
            body = part_data[p.body : p.end]
            if p.kind == 'stco':
                n = np.frombuffer(body[8:], '>u4').astype('>u8')
                out += box('co64', body[:8], n.tobytes())
            else:
                out += box(p.kind, wide(body) if p.kind in CONTAINERS else body)
        return out

    new = with_boxes(wide(old), b'', 1000)
    assert b'co64' in new and b'stco' not in new
    for a, b in zip(find(tree(old), 'moov')[1:], find(tree(new), 'moov')[1:]):
        if a[0] == 'trak':
            way = 'mdia', 'minf', 'stbl'
            before = np.frombuffer(find(a[1], *way, 'stco')[8:], '>u4')
            after = np.frombuffer(find(b[1], *way, 'co64')[8:], '>u8')
            assert (after == before + 1000).all()


def test_what_is_no_mp4_says_so(tmp_path):
    (tmp_path / 'a').write_bytes(b'no film' * 100)
    with pytest.raises(InputError, match='no whole MP4'):
        mark_stereo(tmp_path / 'a', tmp_path / 'b', b'')
    (tmp_path / 'a').write_bytes(struct.pack('>I4s', 8, b'ftyp'))
    with pytest.raises(InputError, match='no MP4 with a film'):
        mark_stereo(tmp_path / 'a', tmp_path / 'b', b'')
    with pytest.raises(InputError, match='packing'):
        stereo_boxes('diagonal')
