"Widgets: what they draw is what a function draws alone; labelled; with ipywidgets 7.7 and 8; no trace in a notebook."

import gc
import io
import json
import time
import weakref
from datetime import datetime, timezone

import ipywidgets
import numpy as np
import pytest
import torch
from helpers.drawing import halves, magenta
from helpers.project import root
from PIL import Image
from stateless import has_state, without_state

from scz_nb.apps import widgets as W
from scz_nb.core import InputError
from scz_nb.media.show import anaglyph
from scz_nb.media.video import StereoVideo
from scz_nb.sampler import run
from scz_nb.world.render import scene_picture

rng = np.random.default_rng(0)


quick = dict(restart_iterations=3, refine=((20, 4), (40, 2)))  # all stages, few repeats


@pytest.fixture(scope='module')
def recorded(backbone):
    recording, (picture, prompt) = W.Recording(), scene_picture(33)
    return recording, run(
        picture,
        prompt,
        backbone=recording.watch(backbone),
        steps=4,
        config=quick,
        callback=recording,
        progress=False,
    )


def near(a, b, most=6):
    return np.abs(a.astype(int) - b).mean() < most


# drawings
flat = np.full((20, 40, 3), 90, np.uint8)
block = np.zeros((20, 40), np.float32)
block[5:15, 15:20] = 1.0


def test_warp_drawing_shows_holes_where_things_were():
    view, holes, edge = W.moved_view(flat, block, 10.0)  # 4 columns to the left
    assert (
        holes[5:15, 16:20].all() and holes.sum() == 40 and not edge.any()
    )  # where it stood, at the right of where it is
    assert (
        holes[:, ::-1].sum() == W.moved_view(flat, block, -10.0)[1].sum()
        and W.moved_view(flat, block, -10.0)[1][5:15, 15:19].all()
    )
    d = W.draw_warp(flat, block, scale=10, height=20)
    assert (
        '5.0 % of the moved view are holes, 0.0 % at its border' in d.words
        and d.pixels().shape == (20, 3 * 40 + 8, 3)
    )
    assert (
        magenta(d.pixels()[:, 44:84]) > 30
        and magenta(W.draw_warp(flat, block, scale=0, height=20).pixels()) == 0
    )


def test_border_takes_the_left_view():
    left = rng.integers(0, 255, (8, 40, 3), np.uint8)
    view, holes, edge = W.moved_view(left, np.ones((8, 40)), 10.0)
    assert (
        edge[:, -4:].all()
        and edge.sum() == holes.sum() == 32
        and (view[edge] == (255, 150, 0)).all()
    )
    assert np.array_equal(
        W.moved_view(left, np.ones((8, 40)), 10.0, border=1.0)[0][edge], left[edge]
    )


def test_convergence_moves_and_opens_no_hole():
    a, b = (W.draw_warp(flat, block, scale=10, convergence=c, height=20) for c in (0.0, 1.0))
    assert (
        a.words.split('.')[0] == b.words.split('.')[0]
        and b.pixels().shape[1] == a.pixels().shape[1] - 4
    )


def test_warp_drawing_is_fast():
    left, d = rng.integers(0, 255, (160, 256, 3), np.uint8), rng.random((160, 256), np.float32)
    times = []
    for k in range(12):
        begin = time.perf_counter()
        W.draw_warp(left, d, scale=k, convergence=0.3, border=0.5)
        times.append(time.perf_counter() - begin)
    assert min(times) < 0.1, f'{1000 * min(times):.0f} ms'


def test_stereo_drawing():
    l, r = (
        np.kron(rng.integers(0, 255, (3, 4, 5, 1)), np.ones((1, 8, 8, 3))).astype(np.uint8)
        for _ in 'lr'
    )
    v = StereoVideo(l, r, rng.random((3, 32, 40)))
    px = lambda kind, **kw: W.draw_stereo(v, kind, height=32, **kw).pixels()
    for kind, first, second in (('side by side', l, r), ('cross-eyed', r, l)):
        a, b = halves(px(kind, frame=2))
        assert near(a, first[2]) and near(b, second[2]) and not near(a, second[2])
    assert near(px('side by side', swap=True), px('cross-eyed')) and near(
        px('anaglyph, dubois', frame=1), anaglyph(l[1], r[1], 'dubois')
    )
    moving = Image.open(io.BytesIO(W.draw_stereo(v, 'wiggle', frame=1, height=32).data))
    assert moving.n_frames == 2
    for i, view in enumerate((l, r)):
        moving.seek(i)
        assert near(np.asarray(moving.convert('RGB')), view[1], 12)
    with pytest.raises(InputError, match='wigle'):
        W.draw_stereo(v, 'wigle')
    with pytest.raises(InputError, match='disparity'):
        W.draw_stereo(StereoVideo(l, r), 'disparity')


def test_depth_drawing(backbone, recorded):
    video = recorded[1]
    d = {
        s: W.draw_depth(backbone, video.left, video.disparity, strength=s, height=80)
        for s in (0, 30)
    }
    assert 'changes by 0.0 %' in d[0].words and 'changes by 0.0 %' not in d[30].words
    w = 128
    a, b = (d[s].pixels() for s in (0, 30))
    assert (
        near(a[:, :w], b[:, :w])
        and near(a[:, :w], a[:, w + 4 : 2 * w + 4])
        and not np.array_equal(b[:, w + 4 : 2 * w + 4], a[:, w + 4 : 2 * w + 4])
    )
    assert not near(a[:, -w:], np.full_like(a[:, -w:], 255), 1)  # a diagram
    with pytest.raises(InputError, match='takes'):
        W.depth_explorer(np.zeros((8, 50, 64, 3), np.uint8), backbone)


# a recording
def test_recording_holds_the_run(backbone, recorded):
    recording, video = recorded
    lefts, rights = recording.lefts(), recording.rights()
    assert list(lefts) == sorted(rights) == [1, 2, 3, 4] and recording.restarted() == 1
    with torch.inference_mode():
        assert np.array_equal(backbone.decode(lefts[4]), video.left) and np.array_equal(
            backbone.decode(rights[4]), video.right
        )
    assert {k: len(v) for k, v in W.places(recording).items()} == {
        'restart 1': 3,
        'refine 2': 1,
        'refine 3': 4,
        'refine 4': 2,
    }
    assert recording.nbytes == (4 + 3 + 3 + 10) * 4 * lefts[4].numel() and '2 MB' in repr(recording)


def test_watching_changes_nothing(backbone, recorded):
    recording, (picture, prompt) = W.Recording(), scene_picture(33)
    video = run(
        picture,
        prompt,
        backbone=backbone,
        steps=4,
        config=quick,
        callback=recording,
        progress=False,
    )
    assert np.array_equal(video.right, recorded[1].right)
    with pytest.raises(InputError, match='no guesses'):
        W.places(recording)


def test_last_guess_of_a_held_run_is_its_end(backbone):
    recording, (picture, prompt) = W.Recording(), scene_picture(33)
    run(
        picture,
        prompt,
        backbone=recording.watch(backbone),
        steps=3,
        config=dict(right='inpaint'),
        callback=recording,
        progress=False,
    )
    found = W.places(recording)
    assert list(found) == ['hold 1', 'hold 2', 'hold 3']
    assert (
        (found['hold 3'][0] - recording.rights()[3]).std()
        < 0.05
        < (found['hold 1'][0] - recording.rights()[3]).std()
    )  # up to the schedule's last bit of noise


def test_a_video_is_recorded_too(backbone):
    recording, clip = W.Recording(), rng.integers(0, 255, (8, 40, 64, 3), np.uint8)
    run(
        video=clip,
        prompt='a ball',
        backbone=recording.watch(backbone),
        steps=2,
        callback=recording,
        progress=False,
    )
    assert (
        list(recording.lefts()) == sorted(recording.rights()) == [1, 2]
        and W.latent_explorer(recording).image.value
    )


def test_latent_drawing(recorded):
    recording, _ = recorded
    px = lambda **kw: W.draw_latents(recording, **{**dict(step=4, height=40), **kw}).pixels()
    assert (
        px().shape == (40, 64, 3)
        and not near(px(step=1), px(step=4))
        and not near(px(view='right'), px(view='left'), 2)
    )
    grey = px(channel=2)
    assert near(grey[..., 0], grey[..., 2], 2) and abs(px(view='difference').mean() - 128) < 12
    with pytest.raises(InputError, match='step 9'):
        W.draw_latents(recording, 9)
    with pytest.raises(InputError, match='no stereo run'):
        W.latent_explorer(W.Recording())


def test_repeat_drawing(backbone, recorded):
    recording, video = recorded
    found, holes = W.places(recording), W.latent_holes(video, (8, 20, 32))
    assert 0 < holes.float().mean() < 0.5
    d = lambda again, **kw: W.draw_repeat(
        found['refine 3'], holes, backbone.decode, again=again, height=80, **kw
    )
    assert (
        'Nothing to compare' in d(1).words and d(4).words != d(2).words and d(99).data == d(4).data
    )
    plain, marked = d(3, outlines=False).pixels()[:, :128], d(3).pixels()[:, :128]
    assert magenta(plain) < magenta(marked)
    with pytest.raises(InputError, match='8 frames'):
        W.latent_holes(
            StereoVideo(video.left[1:], video.right[1:], video.disparity[1:], meta=video.meta),
            (8, 20, 32),
        )


# panels
@pytest.fixture(scope='module')
def panels(backbone, recorded):
    recording, video = recorded
    return dict(
        warp=W.warp_playground(video.left, video.disparity),
        depth=W.depth_explorer(video.left, backbone, given=video.disparity),
        latents=W.latent_explorer(recording),
        repeats=W.repeat_inspector(recording, video, backbone.decode),
        viewer=W.stereo_viewer(video),
        run=W.RunPanel(backbone),
        all=W.studio(),
    )


def inside(w):
    return [w, *(o for c in getattr(w, 'children', ()) for o in inside(c))]


passive = ipywidgets.Box, ipywidgets.Image, ipywidgets.HTML, ipywidgets.IntProgress, ipywidgets.Tab


@pytest.mark.parametrize('name', ['warp', 'depth', 'latents', 'repeats', 'viewer', 'run', 'all'])
def test_every_control_has_a_name_and_a_tip(panels, name):
    controls = [w for w in inside(panels[name]) if not isinstance(w, passive)]
    assert len(controls) >= 3
    for w in controls:
        assert w.description and (
            getattr(w, 'tooltip', None) or getattr(w, 'description_tooltip', None)
        ), w
    assert not any(isinstance(w, ipywidgets.Output) for w in inside(panels[name]))


@pytest.mark.parametrize(
    'name,turn',
    [
        ('warp', dict(scale=15.0)),
        ('warp', dict(exponent=3.0)),
        ('warp', dict(convergence=0.5)),
        ('warp', dict(border=1.0)),
        ('warp', dict(frame=3)),
        ('depth', dict(estimator='given')),
        ('depth', dict(strength=50)),
        ('depth', dict(scale=3.0)),
        ('latents', dict(step=2)),
        ('latents', dict(channel=3)),
        ('latents', dict(view='right')),
        ('latents', dict(frame=3)),
        ('repeats', dict(place='restart 1')),
        ('repeats', dict(again=3)),
        ('repeats', dict(outlines=False)),
        ('viewer', dict(kind='wiggle')),
        ('viewer', dict(swap=True)),
        ('viewer', dict(frame=5)),
    ],
)
def test_every_control_changes_the_picture_and_back(panels, name, turn):
    panel, ((key, value),) = panels[name], turn.items()
    before, old = panel.image.value, panel.controls[key].value
    panel.controls[key].value = value
    assert panel.image.value != before and panel.words.value
    panel.controls[key].value = old
    assert panel.image.value == before  # nothing is kept but the controls


def test_a_panel_is_thin(recorded):
    _, video = recorded
    panel = W.warp_playground(video.left, video.disparity)
    panel.controls['scale'].value, panel.controls['frame'].value = 5.0, 2
    assert panel.image.value == W.draw_warp(video.left, video.disparity, scale=5.0, frame=2).data


def test_errors_are_shown_and_pass():
    def draw(n):
        if n == 3:
            raise InputError('three & a half cannot be drawn.')
        return W.drawing([flat], f'n is {n}')

    panel = W.Panel(draw, dict(n=W.control(ipywidgets.IntSlider, 'n', 'a number', min=0, max=5)))
    panel.controls['n'].value = 3
    assert 'three &amp; a half' in panel.words.value
    panel.controls['n'].value = 4
    assert 'n is 4' in panel.words.value


# running
@pytest.fixture
def panel(backbone):
    p = W.RunPanel(backbone)
    p.controls['steps'].value, p.controls['right'].value = 2, 'inpaint'
    return p


def made(panel):
    panel.make.click()
    if panel.thread:
        panel.thread.join(60)
    return panel.words.value


def test_a_run_in_the_panel(panel, backbone):
    seen = []
    panel.done = lambda video, recording: seen.append((video, recording))
    panel.controls['seed'].value, panel.controls['prompt'].value = 7, 'a submarine sails left'
    assert (
        'Made in' in made(panel)
        and 'submarine' in panel.words.value
        and panel.cancel.disabled
        and not panel.make.disabled
    )
    (video, recording), (viewer, links) = *seen, panel.result.children
    again = run(
        panel.picture,
        'a submarine sails left',
        backbone=backbone,
        steps=2,
        seed=7,
        scale=12.0,
        config=dict(right='inpaint'),
        progress=False,
    )
    assert (
        np.array_equal(video.right, again.right)
        and links.value.count('href="data:video/mp4;base64,') == 2
        and 'stereo_LR.mp4' in links.value
    )
    old = weakref.ref(recording), weakref.ref(viewer)
    seen.clear()
    del video, recording, viewer
    assert 'Made in' in made(panel)
    seen.clear()
    gc.collect()
    assert old[0]() is None and old[1]() is None  # the first run is not kept


def test_cancel_ends_within_a_step(panel):
    values = []
    panel.controls['steps'].value = 50

    def watch(change):
        values.append(change['new'])
        if change['new'] == 2:
            panel.cancel.click()

    panel.bar.observe(watch, 'value')
    assert 'Cancelled' in made(panel) and values == [1, 2] and not panel.make.disabled
    panel.controls['steps'].value = 2
    panel.bar.unobserve_all()
    assert 'Made in' in made(panel)


def test_errors_of_a_run_are_one_sentence(panel):
    panel.picture, panel.controls['prompt'].value = None, ''
    assert (
        'give a picture, a prompt or both' in made(panel)
        and 'role="alert"' in panel.words.value
        and not panel.make.disabled
    )
    panel.backbone = 'tinny'
    assert 'tiny' in made(panel)
    panel.backbone, panel.controls['scene'].value = 'tiny', 5
    assert 'Made in' in made(panel)


def test_one_run_at_a_time(panel, backbone):
    other, said = W.RunPanel(backbone), []
    panel.bar.observe(
        lambda change: said or (other.make.click(), said.append(other.words.value)), 'value'
    )
    assert 'Made in' in made(panel) and 'Another run is on' in said[0] and not other.make.disabled


# uploads, as ipywidgets 7 and 8 give them
def png():
    buf = io.BytesIO()
    Image.fromarray(flat).save(buf, 'png')
    return buf.getvalue()


@pytest.mark.parametrize(
    'value',
    [
        {'a.png': {'metadata': {'name': 'a.png', 'size': 3}, 'content': b'abc'}},
        ({'name': 'a.png', 'type': 'image/png', 'size': 3, 'content': memoryview(b'abc')},),
    ],
)
def test_uploads_of_both_versions(value):
    assert W.uploaded(value) == ('a.png', b'abc')


@pytest.mark.parametrize('value', [{}, ()])
def test_nothing_chosen(value):
    assert W.uploaded(value) is None


def test_pictures_are_read(panel):
    assert np.array_equal(W.picture_of('../../a.png', png()), flat)
    for data in (b'', b'no picture', png()[:60]):
        with pytest.raises(InputError, match=r'^holiday\.png '):
            W.picture_of('holiday.png', data)
    file = lambda data: (
        {'a.png': dict(metadata={}, content=data)}
        if ipywidgets.__version__ < '8'
        else (
            dict(
                name='a.png',
                type='image/png',
                size=len(data),
                content=data,
                last_modified=datetime.now(timezone.utc),
            ),
        )
    )
    for data, said in ((b'no', 'not a picture'), (png(), 'is the first frame')):
        if ipywidgets.__version__ < '8':
            panel.controls['upload'].set_trait('value', file(data))
        else:
            panel.controls['upload'].value = file(data)
        assert said in panel.words.value
    assert np.array_equal(panel.picture, flat)


# notebooks
@pytest.mark.parametrize('nb', sorted((root / 'nbs').rglob('*.ipynb')), ids=lambda p: p.stem)
def test_notebooks_hold_no_widgets(nb):
    assert not has_state(json.loads(nb.read_text())), (
        f'run: python tests/stateless.py {nb.relative_to(root)}'
    )


def test_every_widget_has_its_still_picture():
    cells = json.loads((root / 'nbs/70_widgets.ipynb').read_text())['cells']
    shown = [c for c in cells if c['cell_type'] == 'code' and 'display(' in ''.join(c['source'])]
    ends = {''.join(c['source']).strip().splitlines()[-1].partition('(')[0] for c in shown}
    assert {
        'warp_playground',
        'depth_explorer',
        'latent_explorer',
        'repeat_inspector',
        'stereo_viewer',
        'panel',
    } <= ends
    for c in shown:
        assert any(k.startswith('image/') for o in c['outputs'] for k in o.get('data', {})), (
            ''.join(c['source'])
        )


def test_state_is_seen_and_taken_out():
    view, still = (
        dict(data={'application/vnd.jupyter.widget-view+json': {}, 'text/plain': 'Panel()'}),
        dict(data={'image/jpeg': ''}),
    )
    nb = dict(
        cells=[dict(cell_type='code', outputs=[still, view]), dict(cell_type='markdown')],
        metadata=dict(widgets={}, kernelspec={}),
    )
    assert (
        has_state(nb)
        and not has_state(without_state(nb))
        and without_state(nb)['cells'][0]['outputs'] == [still]
        and without_state(nb)['metadata'] == dict(kernelspec={})
    )
