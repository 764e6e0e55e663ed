"""Pins: the numbers that this package makes, as hashes, so that moving its code changes none.

`pins.json` has a section for each kind of machine, since the last bits of a sum depend on it.
On a machine without a section the tests are skipped; `python tests/test_pins.py --record` writes
one. Record before a change, not after it.

They were recorded on the code before the layers. One case was recorded anew: DepthCrafter's Euler
step became `Schedule.step`, and its depth differs by 1.1e-6, its latents by 3.3e-6 (of 2.6).
Of 30 November: the 27 cases that hang on the embedded weights or on trainings, when these got a
motion network and passes in bfloat16; the other 13 are as they were.
"""

import os

os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('HF_HUB_OFFLINE', '1')

import contextlib
import functools
import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
import torch
from helpers.models import small
from PIL import Image, ImageSequence

# ------------------------------------------------------------------------------------------------
# The one place that has to follow renames: every name of the package stands between these lines.
# Cases below use the functions here, and settings by the names on the left of these tables.
import scz_nb
from scz_nb import sampler
from scz_nb.depth import depthcrafter, edit, estimators, steady
from scz_nb.depth import propagate as propagation
from scz_nb.evaluation import tables
from scz_nb.evaluation.baselines import stereodiffusion
from scz_nb.media.video import StereoVideo
from scz_nb.models import embedded
from scz_nb.models.backbones import DynamiCrafterBackbone, load_backbone
from scz_nb.models.stand_in import random_pipeline
from scz_nb.training import data, train
from scz_nb.world import render, scenes

SETTINGS = dict(  # what a setting is called in the cases: what the package calls it
    right='right',
    cross_view='cross_view',
    dissolve='dissolve',
    eta='eta',
    guidance='guidance',
    guidance_window='guidance_window',
    guidance_rescale='guidance_rescale',
    refine='refine',
    refine_form='refine_form',
    restart_fill='restart_fill',
    settled='tol',
    restart_iterations='restart_iterations',
    restart_steps='restart_steps',
)
VALUES = {'held': 'inpaint'}  # the same for values of settings
WORLD = dict(  # the same for a TinyWorld clip
    width='width',
    height='height',
    frames='frames',
    baseline='baseline',
    pace='pace',
    supersample='supersample',
    n_objects='n_objects',
    complexity='complexity',
)
LAYOUTS = ('side-by-side', 'top-bottom', 'half-side-by-side', 'anaglyph', 'left', 'right', 'wiggle')


@functools.cache
def backbone(name):
    "An embedded model, loaded once."
    return load_backbone(name, 'cpu')


def run(
    on,
    prompt,
    image=None,
    last=None,
    loop=False,
    video=None,
    depth='auto',
    scale=None,
    steps=6,
    **settings,
):
    "Arrays of a run (left, right, disparity), and how often the network was asked."
    if isinstance(on, str):
        on = backbone(on)
    made = sampler.run(
        image,
        prompt,
        video=video,
        image2=last,
        loop=loop,
        backbone=on,
        depth=depth,
        scale=scale,
        steps=steps,
        seed=0,
        progress=False,
        config={SETTINGS[name]: VALUES.get(value, value) for name, value in settings.items()},
    )
    arrays = dict(left=made.left, right=made.right, disparity=made.disparity)
    return arrays, sum(made.meta['calls'].values())


def world(**sizes):
    "Sizes of a TinyWorld clip."
    return scenes.WorldConfig(**{WORLD[name]: value for name, value in sizes.items()})


def scene(seed, config):
    "A scene by its number."
    return scenes.sample_scene(seed, config)


def twin(a_scene):
    "The scene the other way round, or None."
    return scenes.counterfactual(a_scene)


def swapped(caption):
    "The caption with left for right."
    return scenes.swap_sides(caption)


def rendered(a_scene, config):
    "Everything that is rendered of a scene; and its caption."
    clip = render.render(a_scene, config)
    arrays = dict(
        left=clip.left,
        right=clip.right,
        disparity=clip.disparity,
        right_disparity=clip.right_disparity,
        visible=clip.visible,
    )
    return arrays, clip.caption


def trained(part, folder, steps):
    "Losses of a new training, and three lists of tensors: weights, their mean, what is shipped."
    recipe = data.Recipe(batch=4, rate=2e-3)
    run = train.Run(part, folder, small, recipe, max_steps=steps)
    model, losses = train.fit(run, progress=False)
    state = torch.load(Path(folder) / f'{part}.ckpt', weights_only=True)
    weights, mean, shipped = state['model'], state['ema'], model.state_dict()
    return losses, [list(tensors.values()) for tensors in (weights, mean, shipped)]


def trained_further(part, folder, steps):
    "Losses of a training that begins with the shipped weights, and the list of its weights."
    weights = embedded.shipped_weights('tiny')
    recipe = data.Recipe(batch=2)
    run = train.Run(part, folder, recipe=recipe, weights=weights, max_steps=steps)
    _, losses = train.fit(run, progress=False)
    state = torch.load(Path(folder) / f'{part}.ckpt', weights_only=True)
    return losses, list(state['model'].values())


def saved(left, right, path, layout, zoom):
    "Write a stereo video; where it lies."
    return StereoVideo(left, right, fps=8).save(path, layout=layout, zoom=zoom)


def truth_rows(steps):
    "Rows of measures of scene 0, true right view first; three variants of the method."
    names = ("paper's form", 'inpainting form', 'no refinement')
    methods = {name: tables.METHODS[name] for name in names}
    rows = tables.truth_rows(0, steps, methods, backbone=backbone('tiny'))
    return [list(measures.values()) for measures in rows.values()]


def rival(left, nearness, scale, prompt, steps):
    "The right view of StereoDiffusion."
    return stereodiffusion(left, nearness, scale, prompt, backbone('tiny'), steps)


def random_dynamicrafter(folder):
    "A small DynamiCrafter with random weights."
    return random_pipeline('dynamicrafter-512')


def as_backbone(pipe):
    "A pipeline as the sampler sees it."
    return DynamiCrafterBackbone(pipe)


def dynamicrafter_clip(pipe, image, prompt, steps):
    "What the pipeline makes of a picture (1, T, H, W, 3), and its latents."
    made = []
    for kind in ('np', 'latent'):
        noise = torch.Generator().manual_seed(0)
        made.append(
            pipe(image, prompt, num_inference_steps=steps, generator=noise, output_type=kind).frames
        )
    return made


def depthcrafter_depth(video, steps):
    "Depth and latents of a small DepthCrafter with random weights: two windows, dissolved."
    pipe = depthcrafter.random_depthcrafter()
    pipe.set_progress_bar_config(disable=True)
    made = pipe(
        video,
        num_inference_steps=steps,
        guidance_scale=1.2,
        window_size=4,
        overlap=1,
        strength=20,
        generator=torch.Generator().manual_seed(0),
    )
    return made.depth, made.latents


def estimated(video):
    "Nearness by the embedded depth network."
    return estimators.estimate_depth(video, 'tiny', device='cpu', cache=False)


def propagated(nearness, video, holes='own', fade=1.0, check=False, cuts=()):
    "Nearness, carried from frame to frame."
    return propagation.propagate(nearness, video, holes=holes, fade=fade, check=check, cuts=cuts)


def smoothed(nearness):
    "Nearness, averaged over time."
    return steady.smooth(nearness)


def dilated(nearness):
    "Nearness whose near things have grown."
    return edit.dilate(nearness)


# End of the one place that has to follow renames.
# ------------------------------------------------------------------------------------------------


FILE = Path(__file__).with_name('pins.json')


def machine():
    "What the last bits of a number depend on."
    processor = 'unknown processor'
    with contextlib.suppress(OSError):
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith('model name'):
                processor = line.split(':', 1)[1].strip()
                break
    capability = torch.backends.cpu.get_cpu_capability()
    return f'torch {torch.__version__}, {capability}, {processor}'


def recorded():
    "All sections of the file."
    return json.loads(FILE.read_text()) if FILE.is_file() else {}


@contextlib.contextmanager
def one_thread():
    "One thread for torch and OpenCV: sums and flows depend on how many share the work."
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


@contextlib.contextmanager
def one_core():
    "One core for this thread and the processes that it starts: x264's output depends on it."
    if not hasattr(os, 'sched_setaffinity'):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def pin(array):
    "The first 16 digits of the SHA-256 of an array: its type, its shape, its bytes."
    if torch.is_tensor(array):
        array = array.detach().cpu().numpy()
    array = np.ascontiguousarray(array)
    told = f'{array.dtype} {array.shape}\n'.encode()
    return hashlib.sha256(told + array.tobytes()).hexdigest()[:16]


def pins(arrays):
    "The pin of each of some named arrays."
    return {name: pin(array) for name, array in arrays.items()}


def pin_of_all(tensors):
    "One pin for many tensors, whatever their names and their order."
    return hashlib.sha256(' '.join(sorted(map(pin, tensors))).encode()).hexdigest()[:16]


def in_bytes(floats):
    "Pixels in [0, 1] as bytes."
    return (np.asarray(floats) * 255).round().astype(np.uint8)


@functools.cache
def clip(width=64, height=40, frames=8, seed=10_003):
    "Left and right view (T, H, W, 3) uint8, nearness (T, H, W) and caption of a painted clip."
    config = world(width=width, height=height, frames=frames)
    arrays, caption = rendered(scene(seed, config), config)
    nearness = arrays['disparity'].numpy()
    return in_bytes(arrays['left']), in_bytes(arrays['right']), nearness, caption


CASES = {}


def case(name):
    "Decorator: a function without arguments becomes the case of this name."

    def add(function):
        CASES[name] = function
        return function

    return add


# The sampler. A refinement is written for 50 steps: of 6, these refine the third and the last one.
QUICK = dict(right='paper', refine=((20, 3), (40, 2)), restart_iterations=3)


def sampled(on, arguments, change):
    "Pins of a run of a model; `arguments` is a function that gives what it begins with."
    arrays, asked = run(on, **{**QUICK, **arguments(), **change})
    return {**pins(arrays), 'view steps': asked}


def from_picture():
    "Arguments of a run from picture and prompt."
    left, _, _, caption = clip()
    return dict(prompt=caption, image=left[0])


def from_large_picture():
    "The same for the model `small`, in three steps."
    left, _, _, caption = clip(width=128, height=80, frames=1)
    return dict(prompt=caption, image=left[0], steps=3)


def from_text():
    "Arguments of a run from text alone."
    return dict(prompt='a red boat sails left on the sea')


def from_two_pictures():
    "Arguments of a run from first and last frame."
    left, _, _, caption = clip()
    return dict(prompt=caption, image=left[0], last=left[-1])


def from_loop():
    "Arguments of a run that ends where it began."
    return dict(from_picture(), loop=True)


def from_video():
    "Arguments of a run from a video that is longer than a window."
    left, _, _, caption = clip(frames=11)
    return dict(prompt=caption, video=left)


def with_depth():
    "Arguments of a run with nearness as an array."
    ramp = np.linspace(0, 1, 64, dtype=np.float32)
    return dict(from_picture(), depth=np.tile(ramp, (8, 40, 1)))


STARTS = {  # what a run begins with: model, arguments
    'from picture': ('tiny', from_picture),
    'from text': ('tiny', from_text),
    'from two pictures': ('tiny', from_two_pictures),
    'loop': ('tiny', from_loop),
    'from video': ('tiny', from_video),
    'small, from picture': ('small', from_large_picture),
}
SWITCHES = {  # settings that differ
    'no dissolving': dict(dissolve=0),
    'negative scale': dict(scale=-12.0),
    'negative scale, held': dict(scale=-12.0, right='held'),
    'released': dict(refine_form='released', restart_fill='own', restart_steps=20),
    'settled': dict(settled=0.3),
    'guidance': dict(guidance=2.0, guidance_window=(0, 0.5), guidance_rescale=0.7),
    'cross view': dict(cross_view=(0.2, 0.8)),
    'eta': dict(eta=0.5),
}

for view in ('paper', 'held'):
    for name, start in STARTS.items():
        CASES[f'run {name}, {view}'] = functools.partial(sampled, *start, dict(right=view))
for name, change in SWITCHES.items():
    CASES[f'run {name}'] = functools.partial(sampled, 'tiny', from_picture, change)
CASES['run depth as an array'] = functools.partial(sampled, 'tiny', with_depth, {})


# TinyWorld: twenty scenes.
WORLDS = {
    'simple': dict(complexity='simple'),
    'complex': dict(complexity='complex', width=96, height=64, frames=4),
    'any': dict(complexity='any', width=32, height=16, frames=3, pace=1.5),
    'large': dict(complexity='any', width=128, height=80, frames=2, supersample=3),
    'plain samples': dict(complexity='complex', supersample=1, n_objects=(2, 4), baseline=0.06),
}


def four_scenes(which):
    "Pins of four scenes of a world, and of their twins."
    config, out = world(**WORLDS[which]), {}
    for seed in range(4):
        drawn = scene(seed, config)
        arrays, caption = rendered(drawn, config)
        other = twin(drawn)
        out[f'scene {seed}'] = dict(pins(arrays), caption=caption, swapped=swapped(caption))
        if other is not None:
            arrays, caption = rendered(other, config)
            out[f'twin {seed}'] = dict(pins(arrays), caption=caption)
    return out


for which in WORLDS:
    CASES[f'tinyworld {which}'] = functools.partial(four_scenes, which)


# Training.
def training(part):
    "Losses and weights of the first steps: easy scenes, small pictures, whole ones."
    with tempfile.TemporaryDirectory() as folder:
        losses, (weights, mean, shipped) = trained(part, folder, 3)
    return dict(
        losses=list(map(repr, losses)),
        weights=pin_of_all(weights),
        mean=pin_of_all(mean),
        shipped=pin_of_all(shipped),
    )


def training_further(part):
    "The same from the shipped weights."
    with tempfile.TemporaryDirectory() as folder:
        losses, weights = trained_further(part, folder, 2)
    return dict(losses=list(map(repr, losses)), weights=pin_of_all(weights))


for part in ('video', 'depth'):
    CASES[f'training {part}'] = functools.partial(training, part)
    CASES[f'training further {part}'] = functools.partial(training_further, part)


# Saved files.
def read_mp4(path):
    "Frames (T, H, W, 3) of a video file, by ffmpeg."
    frames = imageio_ffmpeg.read_frames(str(path))
    width, height = next(frames)['size']
    return np.stack([np.frombuffer(f, np.uint8).reshape(height, width, 3) for f in frames])


def read_frames(path):
    "Frames (T, H, W, 3) of a picture or an animation, by Pillow."
    with Image.open(path) as image:
        return np.stack([np.asarray(f.convert('RGB')) for f in ImageSequence.Iterator(image)])


def files(suffix, zoom=2):
    "Names and pixels of a video that was saved in every layout."
    left, right, _, _ = clip()
    layouts = [o for o in LAYOUTS if not (suffix == '.png' and o == 'wiggle')]
    out = {}
    with tempfile.TemporaryDirectory() as folder, one_core():
        for layout in layouts:
            path = saved(left, right, Path(folder) / f'clip{suffix}', layout, zoom)
            pixels = read_mp4(path) if suffix == '.mp4' else read_frames(path)
            out[layout] = f'{path.name} {pin(pixels)}'
    return out


for suffix in ('.mp4', '.webp', '.gif', '.png'):
    CASES[f'saved {suffix}'] = functools.partial(files, suffix)
CASES['saved .png, zoom of its own'] = functools.partial(files, '.png', None)


# Evaluation.
@case('truth rows')
def measures():
    return [[repr(round(float(x), 9)) for x in row] for row in truth_rows(3)]


@case('stereodiffusion')
def stereodiffusion_view():
    left, _, nearness, caption = clip()
    return pin(rival(left, nearness, 12.0, caption, 4))


# Published models in small, with random weights.
def random_picture():
    return np.random.default_rng(0).integers(0, 255, (32, 64, 3), dtype=np.uint8)


@case('dynamicrafter')
def dynamicrafter_pipeline():
    with tempfile.TemporaryDirectory() as folder:
        pipe = random_dynamicrafter(folder)
        frames, latents = dynamicrafter_clip(pipe, random_picture(), 'fog', 3)
        out = pins(dict(frames=frames, latents=latents))
        nearness = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (4, 32, 1))
        for right in ('paper', 'held'):
            arrays, asked = run(
                as_backbone(pipe),
                'fog',
                random_picture(),
                depth=nearness,
                scale=30.0,
                steps=2,
                **{**QUICK, 'right': right},
            )
            out[right] = {**pins(arrays), 'view steps': asked}
    return out


@case('depthcrafter')
def depthcrafter_pipeline():
    video = np.random.default_rng(0).integers(0, 256, (6, 64, 128, 3), np.uint8)
    nearness, latents = depthcrafter_depth(video, 2)
    return pins(dict(depth=nearness, latents=latents))


# Depth.
@case('depth')
def depth_maps():
    video = clip(width=96, height=64, frames=11)[0]
    nearness = estimated(video)
    return pins(
        dict(
            estimated=nearness,
            propagated=propagated(nearness, video),
            as_in_the_paper=propagated(nearness, video, holes='previous'),
            checked=propagated(nearness, video, check=True, fade=0.7, cuts=(4,)),
            smoothed=smoothed(nearness),
            dilated=dilated(nearness),
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize('name', CASES)
def test_pin(name):
    section = recorded().get(machine())
    if section is None:
        pytest.skip(
            f'pins.json has no section for this machine ({machine()}); '
            'python tests/test_pins.py --record writes it.'
        )
    with one_thread():
        found = CASES[name]()
    assert found == section.get(name), f'{name}: not what is pinned'


def record():
    "Write this machine's section; say what differs from what was in it."
    sections, begin = recorded(), time.monotonic()
    before, now = sections.get(machine(), {}), {}
    for name in CASES:
        start = time.monotonic()
        with one_thread():
            now[name] = CASES[name]()
        change = '' if name not in before or before[name] == now[name] else ', CHANGED'
        print(f'{time.monotonic() - start:6.1f} s  {name}{change}', flush=True)
    sections[machine()] = now
    FILE.write_text(json.dumps(sections, indent=1) + '\n')
    print(f'{len(now)} cases of {scz_nb.__file__}, {time.monotonic() - begin:.0f} s, {machine()}')


if __name__ == '__main__':
    if sys.argv[1:] != ['--record']:
        sys.exit('usage: python tests/test_pins.py --record')
    record()
