"A recording holds what the steps of a run gave, and changes nothing in it."

import numpy as np
import pytest
import torch

from scz_nb.apps.recording import Recording
from scz_nb.core import InputError, StepInfo
from scz_nb.sampler import run
from scz_nb.world.render import scene_picture


def go(backbone, **settings):
    "A recorded run of the embedded model, and its video."
    recording = Recording()
    settings = dict(backbone=backbone, on_step=recording, progress=False) | settings
    return recording, run(*scene_picture(33), **settings)


def test_every_step_has_latents_of_both_views(recorded):
    recording, _ = recorded
    assert list(recording.lefts()) == sorted(recording.rights()) == [1, 2, 3, 4]


def test_the_last_latents_are_the_video(backbone, recorded):
    recording, video = recorded
    with torch.inference_mode():
        assert np.array_equal(backbone.decode(recording.lefts()[4]), video.left)
        assert np.array_equal(backbone.decode(recording.rights()[4]), video.right)


def test_the_restart_is_told_from_what_follows(recorded):
    assert recorded[0].restart_steps() == 1


def test_every_repeat_has_its_guess(recorded):
    counts = {name: len(guesses) for name, guesses in recorded[0].guesses().items()}
    assert counts == {'restart 1': 3, 'refine 2': 1, 'refine 3': 4, 'refine 4': 2}


def test_repeats_differ(recorded):
    guesses = recorded[0].guesses()['refine 3']
    assert not any(torch.equal(a, b) for a, b in zip(guesses, guesses[1:]))


def test_guesses_are_as_many_as_network_evaluations(recorded):
    recording, video = recorded
    assert sum(map(len, recording.guesses().values())) == video.meta['calls']['right']


def test_its_size_is_that_of_its_tensors(recorded):
    recording, _ = recorded
    lefts, rights = 4, 3 + 7
    assert recording.nbytes == (lefts + 2 * rights) * 4 * recording.lefts()[4].numel()
    assert '14 steps, 3 MB' in repr(recording)


def test_it_keeps_copies():
    z = torch.zeros(1, 4, 2, 3, 3)
    recording = Recording()
    recording(StepInfo('refine', 1, 1, z, z))
    z += 1
    assert not recording.rights()[1].any() and not recording.guesses()['refine 1'][0].any()


def test_a_step_without_latents_is_left_out():
    recording = Recording()
    recording(StepInfo('depth', 1, 1))
    assert not recording.steps


def test_recording_changes_nothing(backbone, recorded):
    quick = dict(right='paper', restart_iterations=3, refine=((20, 4), (40, 2)))
    settings = dict(backbone=backbone, steps=4, config=quick, progress=False)
    assert np.array_equal(run(*scene_picture(33), **settings).right, recorded[1].right)


def test_the_last_guess_of_an_inpainted_run_is_its_end(backbone):
    recording, _ = go(backbone, steps=3, config=dict(right='inpaint'))
    found, end = recording.guesses(), recording.rights()[3]
    assert list(found) == ['inpaint 1', 'inpaint 2', 'inpaint 3']
    # up to the schedule's last bit of noise
    assert (found['inpaint 3'][0] - end).std() < 0.05 < (found['inpaint 1'][0] - end).std()


def test_a_given_video_is_recorded(backbone):
    clip = np.random.default_rng(0).integers(0, 255, (8, 40, 64, 3), np.uint8)
    recording = Recording()
    how = dict(config='paper', steps=2, progress=False)
    run(video=clip, backbone=backbone, on_step=recording, **how)
    assert list(recording.lefts()) == sorted(recording.rights()) == [1, 2]


def test_a_given_video_that_is_inpainted_has_right_steps_alone(backbone):
    clip = np.zeros((8, 40, 64, 3), np.uint8)
    recording, settings = Recording(), dict(right='inpaint')
    run(video=clip, backbone=backbone, steps=2, config=settings, on_step=recording, progress=False)
    assert list(recording.rights()) == [1, 2] and not recording.lefts()
    with pytest.raises(InputError, match='no stereo run'):
        recording.check()


def test_an_empty_recording_is_named():
    with pytest.raises(InputError, match='no stereo run'):
        Recording().check()
