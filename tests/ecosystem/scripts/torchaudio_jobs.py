"""torchaudio: functional, filters, transforms, Kaldi's features, alignment, transducers, models, bundles and files."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import torch
import torchaudio
from jobs import even, gradients, job, rng, tensor, whole
from torchaudio import functional as f
from torchaudio import models
from torchaudio import transforms as t
from torchaudio.compliance import kaldi

RATE = 8000


def sound(*shape: int, seed: int = 0, grad: bool = False) -> Any:
    """Tones in noise, below 1 in size, float32, on the device of the jobs."""
    numbers = rng(seed)
    time = np.arange(shape[-1]) / RATE
    tones = sum(
        np.sin(2 * np.pi * (f0 * time + numbers.uniform(size=(*shape[:-1], 1)))) for f0 in (220.0, 530.0, 1300.0)
    )
    made = 0.2 * tones + 0.05 * numbers.standard_normal(shape)
    found = torch.from_numpy(made.astype(np.float32)).to(jobs.DEVICE)
    return found.requires_grad_() if grad else found


def backed(fn: Any, x: Any) -> Any:
    """An answer, and the gradient of its weighted sum with respect to ``x``."""
    out = fn(x)
    whole_out = torch.view_as_real(out) if out.is_complex() else out
    (whole_out * tensor(*whole_out.shape, seed=9)).sum().backward()
    return out, x.grad


def raised(fn: Any) -> str:
    """The name of the error that a call ends in."""
    try:
        fn()
    except Exception as error:
        return type(error).__name__.lstrip("_")
    return ""


@job
def spectrograms() -> Any:
    """Spectrograms of several norms, their inverses and gradients."""
    x = sound(2, 800)
    window = torch.hann_window(64).to(jobs.DEVICE)
    spec = f.spectrogram(x, 3, window, 64, 16, 64, None, True, onesided=True)
    return {
        "power": backed(t.Spectrogram(64).to(jobs.DEVICE), sound(2, 800, grad=True)),
        "magnitude": t.Spectrogram(64, power=1.0, normalized="frame_length", center=False).to(jobs.DEVICE)(x),
        "complex": spec,
        "back": f.inverse_spectrogram(spec, 800, 3, window, 64, 16, 64, True),
        "inverse": t.InverseSpectrogram(64).to(jobs.DEVICE)(t.Spectrogram(64, power=None).to(jobs.DEVICE)(x)),
        "centroid": backed(t.SpectralCentroid(RATE, 128).to(jobs.DEVICE), sound(800, grad=True)),
        "decibels": t.AmplitudeToDB("power", 40.0)(t.Spectrogram(64).to(jobs.DEVICE)(x)),
        "amplitude": f.DB_to_amplitude(x, 2.0, 0.5),
    }


@job
def mel() -> Any:
    """Mel and linear filter banks, cepstra, with gradients."""
    options = {"n_fft": 128, "n_mels": 20}
    spec = t.Spectrogram(128).to(jobs.DEVICE)(sound(1, 800))
    scale = t.MelScale(12, RATE, n_stft=65, norm="slaney", mel_scale="slaney").to(jobs.DEVICE)
    return {
        "fbanks": f.melscale_fbanks(65, 0.0, 4000.0, 10, RATE),
        "linear": f.linear_fbanks(65, 0.0, 4000.0, 10, RATE),
        "dct": f.create_dct(8, 20, "ortho"),
        "spectrogram": backed(t.MelSpectrogram(RATE, **options).to(jobs.DEVICE), sound(2, 800, grad=True)),
        "mfcc": backed(t.MFCC(RATE, 10, melkwargs=options).to(jobs.DEVICE), sound(2, 800, grad=True)),
        "log_mfcc": t.MFCC(RATE, 10, log_mels=True, melkwargs=options).to(jobs.DEVICE)(sound(800)),
        "lfcc": t.LFCC(RATE, 16, n_lfcc=9, speckwargs={"n_fft": 128}).to(jobs.DEVICE)(sound(2, 800)),
        "scale": scale(spec),
        "inverse": t.InverseMelScale(65, 12, RATE).to(jobs.DEVICE)(
            t.MelScale(12, RATE, n_stft=65).to(jobs.DEVICE)(spec)
        ),
        "singular": raised(lambda: t.InverseMelScale(65, 60, RATE)(torch.ones(1, 60, 4))),
        "deltas": t.ComputeDeltas(5)(spec),
        "cmn": t.SlidingWindowCmn(20, 5, norm_vars=True)(spec[..., :20].transpose(1, 2)),
        "cmn_center": t.SlidingWindowCmn(12, 5, center=True)(spec[..., :20].transpose(1, 2)),
    }


@job
def griffin_lim() -> Any:
    """Sound from a spectrogram, with and without momentum."""
    spec = t.Spectrogram(64).to(jobs.DEVICE)(sound(1, 640))
    return (
        t.GriffinLim(64, n_iter=5, rand_init=False).to(jobs.DEVICE)(spec),
        t.GriffinLim(64, n_iter=4, momentum=0.0, length=650, rand_init=False).to(jobs.DEVICE)(spec),
    )


@job
def stretching() -> Any:
    """Time stretched, pitch shifted, speed changed."""
    spec = t.Spectrogram(64, power=None).to(jobs.DEVICE)(sound(1, 800))
    stretch = t.TimeStretch(32, 33).to(jobs.DEVICE)
    shift = t.PitchShift(RATE, 12, n_fft=128).to(jobs.DEVICE)
    speed, lengths = t.Speed(RATE, 1.1).to(jobs.DEVICE)(sound(2, 400), torch.tensor([400, 300]).to(jobs.DEVICE))
    return {
        "stretched": [stretch(spec, 1.3), stretch(spec, 0.8)],
        "pitch": [shift(sound(2, 600)), f.pitch_shift(sound(600), RATE, -2, 2, n_fft=128)],
        "speed": [speed, lengths],
        "perturbed": list(t.SpeedPerturbation(RATE, [0.9]).to(jobs.DEVICE)(sound(2, 400))[0].shape),
        "frequency": f.detect_pitch_frequency(sound(1, 4000), RATE),
    }


@job
def resampling() -> Any:
    """Other rates by two windows, with gradients."""
    x = sound(2, 500)
    return {
        "down": backed(t.Resample(RATE, 6000).to(jobs.DEVICE), sound(2, 500, grad=True)),
        "up": f.resample(x, RATE, 11025),
        "kaiser": f.resample(x, RATE, 5000, resampling_method="sinc_interp_kaiser", lowpass_filter_width=16, beta=9.0),
        "double": f.resample(x.double(), 3, 2),
        "same": f.resample(x, RATE, RATE),
    }


@job
def biquads() -> Any:
    """Filters of the second order."""
    x = sound(2, 400)
    return {
        "allpass": f.allpass_biquad(x, RATE, 1000.0),
        "band": f.band_biquad(x, RATE, 800.0, noise=True),
        "bandpass": f.bandpass_biquad(x, RATE, 900.0, 1.0, True),
        "bandreject": f.bandreject_biquad(x, RATE, 900.0),
        "bass": f.bass_biquad(x, RATE, 5.0),
        "deemph": f.deemph_biquad(x, 44100),
        "equalizer": f.equalizer_biquad(x, RATE, 700.0, 6.0),
        "highpass": f.highpass_biquad(x, RATE, 500.0),
        "lowpass": f.lowpass_biquad(x, RATE, 1500.0),
        "riaa": f.riaa_biquad(x, 44100),
        "treble": f.treble_biquad(x, RATE, 4.0),
        "learned": backed(lambda q: f.lowpass_biquad(sound(1, 200), RATE, q), torch.tensor(900.0, requires_grad=True)),
    }


@job
def recursive_filters() -> Any:
    """Recursive filters, alone and in banks, with gradients."""
    found: dict[str, Any] = {}
    for name, a, b in (
        ("one", [1.0, -0.9], [0.5, 0.2]),
        ("four", [1.0, -1.2, 0.9, -0.3, 0.1], [0.2, 0.1, 0.3, 0.0, 0.1]),
        ("bank", [[2.0, -1.0, 0.4], [1.0, 0.3, 0.5]], [[1.0, 0.4, 0.1], [0.3, 0.2, 0.1]]),
    ):
        a_, b_ = (torch.tensor(v).to(jobs.DEVICE).requires_grad_() for v in (a, b))
        x = sound(3, 2, 300, grad=True)
        out = f.lfilter(x, a_, b_, clamp=name == "one", batching=True)
        (out * tensor(*out.shape, seed=4)).sum().backward()
        found[name] = out, x.grad, a_.grad, b_.grad
    a2, b2 = torch.tensor([1.0, -0.5, 0.2]).to(jobs.DEVICE), torch.tensor([0.3, 0.1, 0.2]).to(jobs.DEVICE)
    found["zero_phase"] = f.filtfilt(sound(2, 300), a2, b2)
    found["apart"] = f.lfilter(sound(300), a2.expand(2, 3), b2.expand(2, 3), batching=False)
    found["double"] = f.lfilter(sound(2, 300).double(), a2.double(), b2.double())
    return found


@job
def effects() -> Any:
    """Contrast, flanger, phaser, overdrive, fades, companding."""
    x = sound(2, 600)
    return {
        "contrast": f.contrast(x),
        "dcshift": f.dcshift(x, 0.3, 0.05),
        "flanger": f.flanger(x[None], RATE, regen=10.0, modulation="triangular", interpolation="quadratic"),
        "gain": f.gain(x, 3.0),
        "overdrive": f.overdrive(x, 15.0, 30.0),
        "phaser": f.phaser(x, RATE),
        "mu_law": f.mu_law_decoding(f.mu_law_encoding(x, 64), 64),
        "codes": f.mu_law_encoding(x, 256),
        "fades": [t.Fade(50, 80, shape)(x) for shape in ("linear", "exponential", "logarithmic", "quarter_sine")],
        "volume": [t.Vol(2.0)(x), t.Vol(3.0, "db")(x), t.Vol(0.5, "power")(x)],
        "preemphasis": backed(t.Preemphasis(0.9), sound(2, 300, grad=True)),
        "deemphasis": backed(t.Deemphasis(0.9).to(jobs.DEVICE), sound(2, 300, grad=True)),
        "convolve": [
            t.Convolve("same")(x, x[:, :50]),
            backed(lambda y: f.fftconvolve(y, x[:, :40]), sound(2, 90, grad=True)),
        ],
        "noise": f.add_noise(x, sound(2, 600, seed=1), torch.tensor([3.0, 10.0]).to(jobs.DEVICE)),
        "dither": list(f.dither(x, "TPDF").shape),
    }


@job
def voice() -> Any:
    """Voice activity, loudness, distances of texts and of distributions."""
    silent = 1e-4 * tensor(1, 2000)
    speech = torch.cat([silent, 3 * sound(1, 4000) * torch.linspace(0, 1, 4000).to(jobs.DEVICE), silent], 1)
    return {
        "vad": list(t.Vad(RATE)(speech).shape),
        "loudness": [t.Loudness(RATE)(sound(2, 8000)), f.loudness(sound(3, 1, 6000), RATE)],
        "distance": [f.edit_distance("kitten", "sitting"), f.edit_distance([1, 2, 3], [2, 3, 5, 6])],
        "frechet": f.frechet_distance(*(m for s in (1, 2) for m in (tensor(4, seed=s), tensor(4, 9, seed=s).cov()))),
    }


@job
def masks() -> Any:
    """Where numbers are drawn, what is masked is told, not where."""
    spec = 1 + tensor(2, 20, 30).abs()
    made = [
        t.FrequencyMasking(8)(spec),
        t.TimeMasking(10, p=0.5)(spec),
        t.TimeMasking(10, iid_masks=True)(spec[None]),
        t.SpecAugment(2, 5, 2, 4)(spec[None]),
        f.mask_along_axis(spec, 5, 0.0, 2),
    ]
    return [(list(m.shape), bool(((m == 0) | (m == spec) | (m == spec.mean())).float().mean() > 0.5)) for m in made]


@job
def features_of_kaldi() -> Any:
    """Spectrograms, filter banks and cepstra as Kaldi computes them."""
    x = 1000 * sound(1, 2000)
    options = {"sample_frequency": RATE, "dither": 0.0}
    return {
        "spectrogram": kaldi.spectrogram(x, **options),
        "fbank": kaldi.fbank(x, num_mel_bins=12, use_energy=True, **options),
        "warped": kaldi.fbank(x, num_mel_bins=12, vtln_warp=0.9, window_type="hamming", snip_edges=False, **options),
        "mfcc": kaldi.mfcc(x, num_mel_bins=12, num_ceps=8, subtract_mean=True, window_type="blackman", **options),
        "banks": kaldi.get_mel_banks(8, 256, 8000.0, 20.0, 0.0, 100.0, -500.0, 1.0)[0],
    }


@job
def beams() -> Any:
    """Beamformers of several microphones, by three ways."""
    real, imag = tensor(3, 9, 20), tensor(3, 9, 20, seed=1)
    spec = torch.complex(real, imag)
    speech = tensor(9, 20, seed=2).sigmoid()
    psd = t.PSD()
    s, n = psd(spec, speech), psd(spec, 1 - speech)
    rtf = f.rtf_power(s, n, 0, 3)
    main = f.rtf_evd(s)
    return {
        "psd": s,
        "souden": t.SoudenMVDR()(spec, s, n, 0),
        "rtf": t.RTFMVDR()(spec, rtf, n, 0),
        "evd": (main / main[:, :1]).abs(),
        "mvdr": [t.MVDR(0, k)(spec, speech, 1 - speech) for k in ("ref_channel", "stv_power")],
        "online": t.MVDR(online=True)(spec, speech),
    }


@job
def transducer() -> Any:
    """The transducer's loss, clamped and reduced, with gradients."""
    targets = (1 + whole(5, 3, 4)).int()
    lengths = torch.tensor([7, 5, 6]).int().to(jobs.DEVICE), torch.tensor([2, 4, 3]).int().to(jobs.DEVICE)
    found = []
    for fused, clamp, reduction in ((True, -1.0, "mean"), (False, -1.0, "sum"), (True, 0.03, "none")):
        x = tensor(3, 7, 5, 6, grad=True)
        given = x if fused else x.log_softmax(-1)
        cost = f.rnnt_loss(given, targets, *lengths, 0, clamp, reduction, fused)
        cost.sum().backward()
        found += [cost, x.grad]
    return found, t.RNNTLoss()(tensor(3, 7, 5, 6), targets - 1, *lengths)


@job
def alignment() -> Any:
    """Forced alignment of labels with frames; what is refused."""
    found = []
    for times, labels in ((9, [1, 2, 2, 3]), (6, [3]), (5, [1, 1, 1]), (12, [2, 1, 2, 1])):
        likely = tensor(1, times, 4, seed=times).log_softmax(-1)
        paths, scores = f.forced_align(likely, torch.tensor([labels]).to(jobs.DEVICE), blank=0)
        spans = f.merge_tokens(paths[0], scores[0].exp())
        found.append((paths, scores, [(s.token, s.start, s.end, s.score) for s in spans]))
    refused = []
    for wrong in ([1, 1, 1, 1], [0, 1], [9]):
        try:
            f.forced_align(tensor(1, 5, 4), torch.tensor([wrong]).to(jobs.DEVICE))
        except (RuntimeError, ValueError) as error:
            refused.append(type(error).__name__)
    return found, refused


LAYERS = [(16, 10, 5), (16, 3, 2)]
W2V = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": LAYERS,
    "extractor_conv_bias": False,
    "encoder_embed_dim": 24,
    "encoder_projection_dropout": 0.0,
    "encoder_pos_conv_kernel": 8,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 2,
    "encoder_num_heads": 3,
    "encoder_attention_dropout": 0.0,
    "encoder_ff_interm_features": 32,
    "encoder_ff_interm_dropout": 0.0,
    "encoder_dropout": 0.0,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.0,
}


def learned(model: Any, *given: Any, pick: Any = lambda out: out, train: bool = True) -> Any:
    """What a model answers, and a few norms of the gradients of its squares."""
    model = even(model).train(train)
    out = pick(model(*given))
    parts = [o for o in (out if isinstance(out, list | tuple) else [out]) if o is not None]
    sum(p.float().square().mean() for p in parts).backward()
    found = gradients(model)
    return out, dict(list(found.items())[:: max(1, len(found) // 12)])


def lengths(*numbers: int) -> Any:
    return torch.tensor(numbers).to(jobs.DEVICE)


@job
def wav2vec2() -> Any:
    """Wav2Vec2 in small: outputs, lengths, gradients, layers."""
    model = models.wav2vec2_model(**W2V, aux_num_out=7)
    first = {**W2V, "extractor_mode": "layer_norm", "extractor_conv_bias": True, "encoder_layer_norm_first": True}
    deep = even(models.wav2vec2_model(**first, aux_num_out=None)).eval()
    return {
        "model": learned(model, sound(2, 400), lengths(400, 300), pick=lambda out: out[0]),
        "layers": deep.extract_features(sound(2, 400), num_layers=2)[0],
        "names": sorted(model.state_dict())[:12],
    }


@job
def wavlm() -> Any:
    """WavLM in small: outputs and gradients."""
    model = models.wavlm_model(**W2V, encoder_num_buckets=16, encoder_max_distance=20, aux_num_out=None)
    return learned(model, sound(2, 400), pick=lambda out: out[0])


@job
def hubert() -> Any:
    """HuBERT's pretraining in small: outputs and gradients."""
    options = {
        "mask_prob": 0.6, "mask_selection": "static", "mask_other": 0.0, "mask_length": 2, "no_mask_overlap": False,
        "mask_min_space": 1, "mask_channel_prob": 0.0, "mask_channel_selection": "static", "mask_channel_other": 0.0,
        "mask_channel_length": 2, "no_mask_channel_overlap": False, "mask_channel_min_space": 1, "skip_masked": False,
        "skip_nomask": False, "num_classes": 6, "final_dim": 8, "feature_grad_mult": 0.1,
    }  # fmt: skip
    model = models.hubert_pretrain_model(**W2V, **options)
    labels = whole(6, 2, 39)
    drawn = even(model)(sound(2, 400), labels)
    parts = models.wav2vec2.components
    draw = parts._compute_mask_indices
    parts._compute_mask_indices = lambda shape, *args, **options: torch.arange(shape[1]).expand(shape) % 3 == 0
    try:
        out = learned(model, sound(2, 400), labels, pick=lambda o: (o[0], o[1], o[2]))
    finally:
        parts._compute_mask_indices = draw
    return out, [d is None for d in drawn]


@job
def conformer() -> Any:
    """Conformers with two norms: outputs and gradients."""
    options = {"num_heads": 2, "ffn_dim": 24, "num_layers": 2, "depthwise_conv_kernel_size": 5}
    return [
        learned(models.Conformer(16, **options, **more), tensor(2, 12, 16), lengths(12, 9), pick=lambda out: out[0])
        for more in ({}, {"use_group_norm": True, "convolution_first": True})
    ]


@job
def emformer() -> Any:
    """An Emformer, trained whole and asked in pieces."""
    model = models.Emformer(16, 2, 24, 2, 4, left_context_length=3, right_context_length=2, max_memory_size=2)
    out = learned(model, tensor(2, 14, 16), lengths(14, 11), pick=lambda o: o[0])
    model.eval()
    with torch.no_grad():
        first, _, state = model.infer(tensor(2, 6, 16), lengths(6, 6))
        then, sizes, _ = model.infer(tensor(2, 6, 16, seed=1), lengths(6, 5), state)
    return out, first, then, sizes


def transducer_model() -> Any:
    return models.rnnt.emformer_rnnt_model(
        input_dim=12, encoding_dim=16, num_symbols=9, segment_length=8, right_context_length=4,
        time_reduction_input_dim=8, time_reduction_stride=2, transformer_num_heads=2, transformer_ffn_dim=20,
        transformer_num_layers=2, transformer_dropout=0.0, transformer_activation="gelu",
        transformer_left_context_length=4, transformer_max_memory_size=0,
        transformer_weight_init_scale_strategy="depthwise", transformer_tanh_on_mem=True, symbol_embedding_dim=10,
        num_lstm_layers=2, lstm_layer_norm=True, lstm_layer_norm_epsilon=1e-3, lstm_dropout=0.0,
    )  # fmt: skip


@job
def rnnt() -> Any:
    """A transducer model, its loss and its beam search."""
    model = transducer_model()
    given = tensor(2, 20, 12), lengths(20, 16).int(), whole(8, 2, 3).int(), lengths(3, 2).int()
    out = learned(model, *given, pick=lambda o: o[0])
    loss = f.rnnt_loss(model(*given)[0], given[2][:, :2].contiguous(), lengths(8, 6).int(), lengths(2, 1).int(), 8)
    search = models.RNNTBeamSearch(model.eval(), 8, step_max_tokens=3)
    with torch.no_grad():
        best = search(tensor(1, 20, 12), lengths(20), 3)
        streamed, _ = search.infer(tensor(12, 12), lengths(12), 2)
    return out, loss, [(h[0], h[3]) for h in best], [h[0] for h in streamed]


@job
def tacotron2() -> Any:
    """Tacotron2 in small: outputs, gradients, speech."""
    model = models.Tacotron2(
        n_mels=6, n_symbol=11, symbol_embedding_dim=12, encoder_embedding_dim=12, decoder_rnn_dim=14,
        decoder_max_step=6, decoder_dropout=0.0, attention_rnn_dim=14, attention_hidden_dim=10,
        attention_location_n_filter=4, attention_location_kernel_size=5, attention_dropout=0.0, prenet_dim=8,
        postnet_n_convolution=3, postnet_embedding_dim=10,
    )  # fmt: skip
    drops = torch.nn.functional.dropout
    torch.nn.functional.dropout = lambda x, *args, **options: x  # it drops in evaluation too
    try:
        given = whole(11, 2, 7), lengths(7, 5).int(), tensor(2, 6, 5), lengths(5, 4).int()
        out = learned(model, *given, pick=lambda o: o[:3], train=False)
        with torch.no_grad():
            said = model.infer(whole(11, 1, 7))
    finally:
        torch.nn.functional.dropout = drops
    return out, said


@job
def wave_rnn() -> Any:
    """WaveRNN in small: outputs, gradients, inference."""
    model = models.WaveRNN([2, 2, 3], 16, 12, 2, 12, 12, 5, 8, 10, 12)
    out = learned(model, sound(2, 1, 12 * 6), tensor(2, 1, 8, 10))
    with torch.no_grad():
        said = model.eval().infer(tensor(1, 8, 6, seed=2))
    return out, list(said[0].shape)


@job
def speech_models() -> Any:
    """DeepSpeech and Wav2Letter: outputs and gradients."""
    return {
        "deep_speech": learned(models.DeepSpeech(8, 16, 6), tensor(2, 1, 10, 8)),
        "wav2letter": learned(models.Wav2Letter(6, "mfcc", 13), tensor(2, 13, 60)),
    }


@job
def separation() -> Any:
    """ConvTasNet and Demucs: outputs and gradients."""
    tas = models.ConvTasNet(2, 16, 12, 3, 8, 12, 2, 2)
    demucs = models.HDemucs(["drums", "rest"], 1, channels=8, nfft=256, depth=4, dconv_attn=3, dconv_lstm=3)
    return learned(tas, sound(2, 1, 320)), learned(demucs, sound(1, 1, 2048))


@job
def quality() -> Any:
    """The objective and the subjective judge of quality: outputs and gradients."""
    objective = models.squim_objective_model(12, 16, 8, 2, 10, 2, "LSTM", 9, None)
    judge = models.squim_subjective_model("wav2vec2_base", 24, 8, 5)
    judge.ssl_model = models.wav2vec2_model(**W2V, aux_num_out=None)
    return learned(objective, sound(2, 320)), learned(judge, sound(2, 400), sound(2, 300, seed=1))


@job
def bundles() -> Any:
    """What a bundle says without its weights."""
    p = torchaudio.pipelines
    names = ["WAV2VEC2_ASR_BASE_960H", "HUBERT_ASR_LARGE", "VOXPOPULI_ASR_BASE_10K_DE"]
    speech = [(getattr(p, n).sample_rate, "".join(getattr(p, n).get_labels())) for n in names]
    aligner = p.MMS_FA
    said = p.TACOTRON2_GRIFFINLIM_CHAR_LJSPEECH.get_text_processor()
    tokens, sizes = said(["Hello world!", "Speech."])
    vocoder = p.TACOTRON2_GRIFFINLIM_CHAR_LJSPEECH.get_vocoder
    return {
        "speech": speech,
        "aligner": [aligner.get_labels(), aligner.get_dict(), aligner.get_tokenizer()(["a", "bc"])],
        "rates": [p.EMFORMER_RNNT_BASE_LIBRISPEECH.sample_rate, p.HDEMUCS_HIGH_MUSDB.sample_rate],
        "text": [tokens, sizes, list(said.tokens)[:8]],
        "callable": callable(vocoder),
        "aligned": aligner.get_aligner()(tensor(12, 29).log_softmax(-1), [[3, 4], [5]])[0][0].token,
    }


@job
def decoders() -> Any:
    """What is said of a decoder whose library is missing."""
    refused = []
    for module in ("torchaudio.models.decoder",):
        __import__(module)
        try:
            torchaudio.models.decoder.ctc_decoder(None, ["a"])
        except (RuntimeError, ImportError, ModuleNotFoundError) as error:
            refused.append("flashlight" in str(error))
    return refused


@job
def files() -> Any:
    """What is written is read; floats are bounded by 16 bits."""
    x = sound(2, 900).cpu()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tone.wav"
        torchaudio.save(path, x, RATE)
        whole_file, rate = torchaudio.load(path)
        part, _ = torchaudio.load(path, frame_offset=100, num_frames=50, channels_first=False)
        with path.open("rb") as opened:
            again, _ = torchaudio.load(io.BytesIO(opened.read()))
        flac = Path(folder) / "tone.flac"
        torchaudio.save(flac, x[:1], 16000)
        coded, coded_rate = torchaudio.load(str(flac))
        try:
            torchaudio.load(Path(folder) / "none.wav")
            refused = ""
        except Exception as error:
            refused = type(error).__name__
    near = [bool((a - b).abs().max() < 1e-3) for a, b in ((whole_file, x), (again, x), (coded, x[:1]))]
    return near, rate, coded_rate, list(part.shape), bool((part.T - x[:, 100:150]).abs().max() < 1e-3), refused


if __name__ == "__main__":
    jobs.main("torchaudio")
