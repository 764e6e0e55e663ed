"Depth networks of every class of transformers, as small as they get, with random weights."

from importlib import import_module

import torch

stages = [f'stage{i}' for i in range(1, 5)]
layers = dict(hidden_size=16, num_hidden_layers=4, num_attention_heads=2)


def depth_anything(**more):
    import transformers as tr

    back = tr.Dinov2Config(
        **layers,
        patch_size=14,
        image_size=56,
        apply_layernorm=True,
        out_features=stages,
        reshape_hidden_states=False,
    )
    config = tr.DepthAnythingConfig(
        backbone_config=back,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8] * 4,
        fusion_hidden_size=8,
        head_hidden_size=8,
        **more,
    )
    return tr.DepthAnythingForDepthEstimation(config)


def metric():
    return depth_anything(depth_estimation_type='metric', max_depth=20)


def dpt():
    import transformers as tr

    config = tr.DPTConfig(
        **layers,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8] * 4,
        fusion_hidden_size=8,
    )
    return tr.DPTForDepthEstimation(config)


def glpn():
    import transformers as tr

    config = tr.GLPNConfig(
        depths=[1] * 4,
        hidden_sizes=[8] * 4,
        decoder_hidden_size=8,
        num_attention_heads=[1] * 4,
        mlp_ratios=[1] * 4,
    )
    return tr.GLPNForDepthEstimation(config)


def zoedepth():
    import transformers as tr

    back = tr.BeitConfig(
        **layers,
        intermediate_size=32,
        image_size=64,
        patch_size=8,
        reshape_hidden_states=False,
        out_features=stages,
    )
    config = tr.ZoeDepthConfig(
        backbone_config=back,
        neck_hidden_sizes=[8] * 4,
        fusion_hidden_size=8,
        bottleneck_features=8,
        num_relative_features=8,
        bin_configurations=[dict(n_bins=8, min_depth=0.001, max_depth=10.0, name='nyu')],
        bin_embedding_dim=8,
        num_attractors=[4, 2, 2, 1],
    )
    return tr.ZoeDepthForDepthEstimation(config)


def depth_pro():
    import transformers as tr

    back = dict(layers, model_type='dinov2', patch_size=4, image_size=16)
    config = tr.DepthProConfig(
        patch_size=16,
        fusion_hidden_size=16,
        intermediate_hook_ids=[1, 0],
        intermediate_feature_dims=[16, 16],
        scaled_images_ratios=[0.5, 1.0],
        scaled_images_overlap_ratios=[0.0, 0.2],
        scaled_images_feature_dims=[16, 16],
        use_fov_model=False,
        num_fov_head_layers=0,
        image_model_config=back,
        patch_model_config=back,
        fov_model_config=back,
    )
    return tr.DepthProForDepthEstimation(config)


nets = dict(
    depth_anything=depth_anything,
    metric=metric,
    dpt=dpt,
    glpn=glpn,
    zoedepth=zoedepth,
    depth_pro=depth_pro,
)
_vit = dict(size=dict(height=56, width=56), keep_aspect_ratio=True, ensure_multiple_of=14)
_processors = dict(
    depth_anything=('dpt', 'DPT', _vit),
    metric=('dpt', 'DPT', _vit),
    dpt=('dpt', 'DPT', dict(size=dict(height=32, width=32))),
    glpn=('glpn', 'GLPN', {}),
    zoedepth=('zoedepth', 'ZoeDepth', dict(size=dict(height=32, width=64), ensure_multiple_of=8)),
)
_depth_pro = (
    '{"image_processor_type": "DepthProImageProcessor", "size": {"height": 64, "width": 64}}'
)


def save_processor(kind, path):
    "The processor of a class, without torchvision."
    if kind == 'depth_pro':
        (path / 'preprocessor_config.json').write_text(_depth_pro)
        return
    module, name, settings = _processors[kind]
    home, kind = f'transformers.models.{module}.image_processing_', f'{name}ImageProcessor'
    try:
        made = getattr(import_module(f'{home}pil_{module}'), f'{kind}Pil')
    except ModuleNotFoundError:  # transformers 5.0
        made = getattr(import_module(f'{home}{module}'), kind)
    made(**settings).save_pretrained(path)


def save_network(kind, path):
    "Network and processor in a folder."
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = nets[kind]()
        for p in net.parameters():
            p.data.normal_(0, 0.2) if p.ndim > 1 else p.data.uniform_(0, 0.2)
    net.save_pretrained(path)
    save_processor(kind, path)
