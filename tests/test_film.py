"Films as streams: what a film is, its frames, and how it is put together again."

import warnings
from fractions import Fraction

import numpy as np
import pytest
from helpers.films import TONE, X264, decoded, ffmpeg, frame_times, picture, sound

from scz_nb.core import InputError, OutputError
from scz_nb.media.film import (
    Coding,
    PictureWriter,
    check_end,
    fine_tick,
    frames_of_film,
    join,
    misfits,
    probe,
    tone_map,
)

SUBTITLES = '1\n00:00:00,100 --> 00:00:00,600\nA line\n\n2\n00:00:00,700 --> 00:00:00,900\nTwo\n'
CHAPTERS = ';FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=500\ntitle=One\n' + (
    '[CHAPTER]\nTIMEBASE=1/1000\nSTART=500\nEND=1000\ntitle=Two\n'
)


@pytest.fixture(scope='module')
def films(tmp_path_factory):
    "A folder of films."
    folder = tmp_path_factory.mktemp('films')
    make = lambda *words: ffmpeg(folder, *words)
    (folder / 's.srt').write_text(SUBTITLES)
    (folder / 'c.txt').write_text(CHAPTERS)
    about = '-metadata title=Test -metadata creation_time=2020-01-02T03:04:05Z'.split()
    make(*picture(), *TONE, *X264, *about, 'plain.mp4')
    for turn in (90, 180, 270):
        make('-display_rotation', turn, '-i', 'plain.mp4', '-c', 'copy', f'turned{turn}.mp4')
    make('-i', 'plain.mp4', '-vf', 'setsar=4/3', *X264, 'broad.mp4')
    uneven = "setpts='if(lt(N,4),N,3*N-8)/10/TB'"
    make('-i', 'plain.mp4', '-vf', uneven, '-fps_mode', 'passthrough', '-an', *X264, 'uneven.mp4')
    fields = '-vf tinterlace=interleave_top,setfield=tff -flags +ildct+ilme'.split()
    make(*picture(rate=20), *fields, *X264, 'fields.mp4')
    make(*picture(), '-pix_fmt', 'yuva444p10le', '-c:v', 'prores_ks', 'clear.mov')
    for form in ('gray', 'yuv444p'):
        make(*picture(), '-c:v', 'libx264', '-pix_fmt', form, f'{form}.mp4')
    make('-i', 'plain.mp4', '-frames:v', 1, '-an', *X264, 'one.mp4')
    odd = '-vf scale=97:63,format=yuv444p -c:v libx264'.split()
    make(*picture(), *odd, 'odd.mp4')
    make(*picture(), 'moving.gif')
    make(
        '-i', 'plain.mp4', '-i', 's.srt', '-i', 'c.txt', '-map_metadata', 2, '-c', 'copy', 'all.mkv'
    )
    make(*TONE, 'sound.m4a')
    make('-i', 'plain.mp4', '-c', 'copy', '-movflags', 'faststart', 'first.mp4')
    (folder / 'cut.mp4').write_bytes((folder / 'first.mp4').read_bytes()[:-12000])
    make('-i', 'plain.mp4', '-c', 'copy', 'late.ts')
    return folder


def read(path, **how):
    "All frames of a film."
    return list(frames_of_film(probe(path), **how))


SHOWN = {  # film: width, height, frames, seconds
    'plain.mp4': (96, 64, 10, 1),
    'turned90.mp4': (64, 96, 10, 1),
    'turned180.mp4': (96, 64, 10, 1),
    'turned270.mp4': (64, 96, 10, 1),
    'broad.mp4': (96, 64, 10, 1),
    'uneven.mp4': (96, 64, 10, None),
    'fields.mp4': (96, 64, 10, 1),
    'clear.mov': (96, 64, 10, 1),
    'gray.mp4': (96, 64, 10, 1),
    'yuv444p.mp4': (96, 64, 10, 1),
    'odd.mp4': (97, 63, 10, 1),
    'one.mp4': (96, 64, 1, None),
    'moving.gif': (96, 64, 10, 1),
    'all.mkv': (96, 64, 10, None),
    'late.ts': (96, 64, 10, None),
}


@pytest.mark.parametrize('name', SHOWN)
def test_what_a_film_is(films, name):
    film = probe(films / name)
    width, height, frames, seconds = SHOWN[name]
    assert (film.width, film.height) == (width, height)
    got = list(frames_of_film(film))
    assert {f.picture.shape for f in got} == {(height, width, 3)}
    assert len(got) == frames and film.frames in (0, frames)
    if seconds:
        assert film.duration == pytest.approx(seconds)


@pytest.mark.parametrize('name', ['plain.mp4', 'turned90.mp4', 'turned180.mp4', 'turned270.mp4'])
def test_frames_are_what_ffmpeg_shows(films, name):
    film = probe(films / name)
    shown = decoded(films / name, (film.width, film.height))
    got = np.stack([f.picture for f in frames_of_film(film)])
    error = np.abs(got.astype(int) - shown)
    assert error.mean() < 0.5 and error.max() <= 12


def test_facts_that_are_no_pixels(films):
    assert probe(films / 'broad.mp4').aspect == Fraction(4, 3)
    assert probe(films / 'fields.mp4').interlaced
    assert probe(films / 'clear.mov').alpha and not probe(films / 'plain.mp4').alpha
    assert probe(films / 'plain.mp4').metadata['title'] == 'Test'
    assert probe(films / 'all.mkv').others == ('audio', 'subtitle')


def test_pixels_of_a_turned_film_are_turned_too(films):
    ffmpeg(films, '-display_rotation', 90, '-i', 'broad.mp4', '-c', 'copy', 'broad90.mp4')
    assert probe(films / 'broad90.mp4').aspect == Fraction(3, 4)


def test_times_stay_uneven(films):
    film = probe(films / 'uneven.mp4')
    got = [(f.time * film.tick, f.lasts * film.tick) for f in frames_of_film(film)]
    said = np.array(frame_times(films / 'uneven.mp4'))
    assert np.allclose(np.array(got, float)[:, 0], said[:, 0], atol=1e-6)
    assert np.allclose(np.array(got, float)[:-1, 1], said[:-1, 1], atol=1e-6)
    assert np.allclose(np.diff([float(t) for t, _ in got])[[0, 8]], [0.1, 0.3], atol=1e-3)


def test_a_film_can_be_read_from_a_time_on(films):
    whole = read(films / 'plain.mp4')
    rest = read(films / 'plain.mp4', start=whole[6].time)
    assert [f.time for f in rest] == [f.time for f in whole[6:]]
    assert all((a.picture == b.picture).all() for a, b in zip(rest, whole[6:]))


def test_combs_are_gone(films):
    combs = lambda x: np.abs(np.diff(x.astype(int), 2, axis=0)).mean()
    shown = decoded(films / 'fields.mp4', (96, 64))
    got = [f.picture for f in read(films / 'fields.mp4')]
    assert np.mean([combs(x) for x in got[2:]]) < 0.85 * np.mean([combs(x) for x in shown[2:]])


@pytest.mark.parametrize('transfer, number', [('smpte2084', 0.581), ('arib-std-b67', 0.75)])
def test_white_paper_of_hdr_is_white(tmp_path, transfer, number):
    light = f'color=white:s=32x32:d=0.1,format=gbrp10le,lutrgb=r=val*{number}'
    light += f':g=val*{number}:b=val*{number}'
    tags = f'color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc'
    filters = f'format=yuv420p10le,setparams={tags}'
    ffmpeg(tmp_path, '-f', 'lavfi', '-i', light, '-vf', filters, '-c:v', 'libx264', 'hdr.mp4')
    film = probe(tmp_path / 'hdr.mp4')
    assert film.is_hdr and film.bits == 10
    shown = next(frames_of_film(film)).picture
    kept = next(frames_of_film(film, deep=True)).picture
    assert shown.min() > 230 and kept.dtype == np.uint16
    assert abs(kept.mean() / 65535 - number) < 0.01


@pytest.mark.parametrize('transfer', ['PQ', 'HLG'])
def test_tone_map_keeps_order_and_hue(transfer):
    grey = np.repeat(np.linspace(0, 1, 200)[:, None], 3, 1)
    shown = tone_map(grey, transfer)
    assert shown[0].max() < 1e-6 and shown[-1].min() > 0.99
    assert (np.diff(shown[:, 0]) > -1e-9).all() and np.ptp(shown, axis=1).max() < 5e-3


REFUSED = {
    'sound.m4a': 'has sound and no picture',
    's.srt': 'has sound and no picture|cannot be decoded',
    'c.txt': 'is no video',
    'nowhere.mp4': 'does not exist',
    'empty.mp4': 'is empty',
    'noise.mp4': 'cannot be decoded',
    'halfhead.mp4': 'cannot be decoded',
    '.': 'is a folder',
}


@pytest.mark.parametrize('name', REFUSED)
def test_what_is_no_film_says_so(films, name):
    (films / 'empty.mp4').write_bytes(b'')
    (films / 'noise.mp4').write_bytes(np.random.default_rng(0).bytes(20000))
    (films / 'halfhead.mp4').write_bytes((films / 'plain.mp4').read_bytes()[:3000])
    with pytest.raises(InputError, match=REFUSED[name]) as e:
        read(films / name)
    assert '\n' not in str(e.value)


def test_a_cut_film_says_so(films):
    film = probe(films / 'cut.mp4')
    with pytest.warns(UserWarning) as said:
        got = list(frames_of_film(film))
        check_end(film, len(got), len(got) / 10)
    assert 0 < len(got) < film.frames == 10
    assert any(f'{len(got)} of 10 frames are there' in str(w.message) for w in said)


def test_a_whole_film_says_nothing(films):
    for name in ('plain.mp4', 'all.mkv', 'uneven.mp4', 'moving.gif'):
        film = probe(films / name)
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            got = list(frames_of_film(film))
            check_end(
                film, len(got), float((got[-1].time + got[-1].lasts - got[0].time) * film.tick)
            )


def test_a_trimmed_film_is_not_cut_off(films):
    "Frames that an edit list leaves out are counted by the file, and not shown."
    ffmpeg(films, '-i', 'plain.mp4', '-c', 'copy', '-t', 0.55, 'short.mp4')
    ffmpeg(films, '-ss', 0.25, '-i', 'plain.mp4', '-c', 'copy', 'trimmed.mp4')
    for name in ('short.mp4', 'trimmed.mp4'):
        film = probe(films / name)
        got = list(frames_of_film(film))
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            seconds = float((got[-1].time + got[-1].lasts - got[0].time) * film.tick)
            check_end(film, len(got), seconds)


@pytest.mark.parametrize('tick', [Fraction(1, 25), Fraction(1001, 30000), Fraction(1, 90000)])
def test_a_fine_tick_divides_the_other(tick):
    fine = fine_tick(tick)
    assert fine <= Fraction(1, 1000) and (tick / fine).denominator == 1


def rewritten(films, name, path, cut=(4, 7)):
    "A film put together from pieces of itself."
    film = probe(films / name)
    got = read(films / name)
    pieces, ends = [], [0, *cut, len(got)]
    for a, b in zip(ends, ends[1:]):
        if a < b <= len(got):
            piece = path.with_name(f'{path.stem}-{a}.mp4')
            with PictureWriter(piece, Coding(crf=0), film.tick, film.rate, film.aspect) as out:
                for f in got[a:b]:
                    out.write(*f)
            pieces.append((piece, got[a].time))
    join(film, pieces, path, 'left_right')
    return film, got


KEPT = ['plain.mp4', 'uneven.mp4', 'all.mkv', 'broad.mp4', 'turned90.mp4', 'late.ts']


@pytest.mark.parametrize('name', KEPT)
def test_nothing_is_lost(films, tmp_path, name):
    path = tmp_path / f'new{".mkv" if name == "all.mkv" else ".mp4"}'
    film, old = rewritten(films, name, path)
    made = probe(path)
    assert (made.width, made.height, made.aspect) == (film.width, film.height, film.aspect)
    new = read(path)
    assert len(new) == len(old)
    times = lambda fs, f: np.array([float((x.time - fs[0].time) * f.tick) for x in fs])
    assert np.abs(times(new, made) - times(old, film)).max() < 0.001
    error = [np.abs(a.picture.astype(int) - b.picture).mean() for a, b in zip(new, old)]
    assert max(error) < 12  # chroma has half the size
    kept = lambda path: [line.split(',')[-1] for line in sound(path)]
    if name != 'late.ts':  # whose sound has other heads
        assert kept(path) == kept(films / name)
    assert made.metadata.get('title') == film.metadata.get('title')
    if film.duration and name != 'all.mkv':
        assert made.duration == pytest.approx(film.duration, abs=0.001)


def test_sound_keeps_its_time(films, tmp_path):
    rewritten(films, 'plain.mp4', tmp_path / 'new.mp4')
    assert sound(tmp_path / 'new.mp4') == sound(films / 'plain.mp4')
    made = probe(tmp_path / 'new.mp4')
    assert made.metadata['creation_time'].startswith('2020-01-02T03:04:05')


def test_subtitles_and_chapters_go_along(films, tmp_path):
    import av

    rewritten(films, 'all.mkv', tmp_path / 'new.mkv')
    with av.open(str(tmp_path / 'new.mkv')) as new:
        lines = [bytes(p).decode() for p in new.demux(new.streams.subtitles[0]) if p.size]
        assert lines == ['A line', 'Two']
        assert [c['metadata']['title'] for c in new.chapters()] == ['One', 'Two']
        assert new.streams.video[0].metadata['stereo_mode'] == 'left_right'


def test_what_has_no_room_in_mp4(films):
    assert misfits(probe(films / 'all.mkv'), '.mp4') == ['subrip']
    assert misfits(probe(films / 'all.mkv'), '.mkv') == []
    assert misfits(probe(films / 'plain.mp4'), '.mp4') == []


def test_a_picture_that_no_encoder_takes_is_a_sentence(tmp_path):
    wide = np.zeros((16, 16944, 3), np.uint8)  # fuzzed: a GIF of 8472 columns, side by side
    with pytest.raises(OutputError, match='libx264 takes no pictures of 16944×16'):
        with PictureWriter(tmp_path / 'a.mp4', Coding(), Fraction(1, 25), Fraction(25)) as out:
            out.write(wide, 0, 1)
