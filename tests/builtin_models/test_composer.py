"""The composer reads prompts, obeys seeds and durations, and its sound is measured against the prompt."""

# ruff: noqa: E402 - the composer needs numpy, which may be missing

from __future__ import annotations

import subprocess
import sys
import tomllib
import wave
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicate_job.local.catalog.catalog import BUILT_IN as MODELS

if TYPE_CHECKING:
    from collections.abc import Callable

np: Any = pytest.importorskip("numpy")

from composer import prompt, studio
from composer.arrangement import STYLES, Arrangement, arrange
from composer.loudness import CEILING, limited, loudness, normalised
from composer.melody import Note
from composer.noise import RATE
from composer.score import SCALES, compose
from composer.voices import VOICES, hertz, note

pytestmark = pytest.mark.long
WALTZ = "a calm piano waltz at 90 bpm"


@cache
def heard(text: str, seconds: int = 8, seed: int = 1, strategy: str = "loudness") -> Any:
    """The sound that the model would write for a prompt, as (2, samples)."""
    return normalised(studio.perform(prompt.read(text), seconds, seed), strategy)


def written(text: str, seconds: float = 30, seed: int = 1) -> tuple[Arrangement, dict[str, list[Note]]]:
    piece = arrange(prompt.read(text), seconds, seed)
    return piece, compose(piece)


def decibels(value: float) -> float:
    return float(20 * np.log10(max(1e-12, value)))


def centroid(sound: Any) -> float:
    """The spectral centroid of the sound, in Hz."""
    power = np.abs(np.fft.rfft(sound.mean(axis=0))) ** 2
    return float((power * np.fft.rfftfreq(sound.shape[1], 1 / RATE)).sum() / power.sum())


def pulse(sound: Any) -> Any:
    """The strength of each tempo from 40 to 240 BPM in the sound: the autocorrelation of its rises in loudness."""
    hop = 160
    frames = np.lib.stride_tricks.sliding_window_view(sound.mean(axis=0), 1024)[::hop] * np.hanning(1024)
    loud = np.sqrt(np.abs(np.fft.rfft(frames, axis=1)))
    rises = np.maximum(0, np.diff(loud, axis=0)).sum(axis=1)
    rises -= rises.mean()
    again = np.correlate(rises, rises, "full")[rises.size - 1 :] / float(rises @ rises)
    return np.array([again[round(60 / tempo * RATE / hop)] for tempo in range(40, 241)])


@pytest.mark.parametrize(
    ("text", "tempo", "meter"),
    [
        (WALTZ, 90, 3),
        ("folk, 130BPM", 130, 4),
        ("tempo: 72.5, sad piano", 72.5, 4),
        ("an allegro sonata", 126, 4),
        ("folk at 9000 bpm", None, 4),
        ("folk song in 3/4 with 100 beats per minute", 100, 3),
    ],
)
def test_the_prompt_chooses_tempo_and_metre(text: str, tempo: float | None, meter: int) -> None:
    piece = arrange(prompt.read(text), 20, 1)
    assert piece.meter == meter
    assert tempo in (None, piece.tempo)


@pytest.mark.parametrize(
    ("text", "tonic", "mode"),
    [
        ("piano in A minor", 9, "minor"),
        ("a song in f sharp major", 6, "major"),
        ("Bb minor folk", 10, "minor"),
        ("key of Eb", 3, None),
        ("C#maj folk", 1, "major"),
        ("a minor key, dark", None, "minor"),
        ("a major hit", None, "major"),
        ("be happy", None, None),
    ],
)
def test_the_prompt_chooses_the_key(text: str, tonic: int | None, mode: str | None) -> None:
    read = prompt.read(text)
    assert (read.tonic, read.mode) == (tonic, mode)


def told(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words of a prompt that the music follows, and the other words."""
    read = prompt.read(text)
    piece = arrange(read, 8, 1)
    played, missed = read.played(piece.players.values())
    return played, missed


def test_played_and_ignored_words_of_a_prompt_are_listed_separately() -> None:
    assert told("An astronaut singing sad opera over a fast waltz with drums in D minor") == (
        ("sad", "fast", "waltz", "in", "d", "minor"), ("astronaut", "singing", "opera", "drums"))  # fmt: skip


def test_words_in_any_script_are_listed_as_played_or_ignored() -> None:
    played, missed = told("Грустное piano, 悲しい, très lent & it\u2019s slow")
    assert played == ("piano", "slow")
    assert missed == ("грустное", "悲しい", "très", "lent", "it\u2019s")


@pytest.mark.parametrize(
    ("text", "missed"),
    [
        ("folk and ambient", ("folk",)),
        ("a fast waltz, slow", ("fast",)),
        ("piano, flute, bells and saxophone", ("bells", "saxophone")),
        ("solo flute with strings", ("solo",)),
        ("solo flute", ()),
        ("sad and happy", ("happy",)),
        ("a jig in 6/8", ("jig", "6", "8")),
        ("120 bpm, slow", ("slow",)),
        ("major minor piano", ("minor",)),
        ("a waltz without bass", ()),
        ("folk with drums", ("drums",)),
        ("violin and rain", ("violin", "rain")),
    ],
)
def test_a_word_that_another_word_overrides_is_listed_as_ignored(text: str, missed: tuple[str, ...]) -> None:
    assert told(text)[1] == missed


@settings(max_examples=40, deadline=None)
@given(
    words=st.lists(
        st.sampled_from(["piano", "guitar", "strings", "flute", "bells", "bass"]),
        min_size=1, max_size=5, unique=True,
    ),
)  # fmt: skip
def test_an_instrument_counts_as_played_if_it_has_notes(words: list[str]) -> None:
    read = prompt.read(", ".join(words))
    piece = arrange(read, 20, 1)
    sounding = {piece.players[part] for part, notes in compose(piece).items() if notes}
    played, _ = read.played(sounding)
    assert set(played) == {said for name, said in read.instruments.items() if name in sounding}
    assert read.played(piece.players.values())[0] == played


def test_only_the_instruments_that_the_prompt_names_play() -> None:
    def players(text: str) -> dict[str, str]:
        return dict(arrange(prompt.read(text), 8, 1).players)

    assert players("folk with flute, acoustic guitar and bass") == {
        "melody": "flute", "chords": "guitar", "bass": "bass"}  # fmt: skip
    assert players("solo piano, ambient") == {"melody": "piano", "chords": "piano"}
    assert players("ambient flute") == {"melody": "flute"}


def test_instruments_that_the_prompt_excludes_do_not_play() -> None:
    assert "bass" not in arrange(prompt.read("folk without bass"), 8, 1).players
    assert "guitar" not in arrange(prompt.read("folk with no guitar"), 8, 1).players.values()
    assert arrange(prompt.read("folk"), 8, 1).players["bass"] == "bass"
    assert arrange(prompt.read("a waltz without piano"), 8, 1).players == {"melody": "guitar"}
    assert arrange(prompt.read("folk, no flute"), 8, 1).players["melody"] == "guitar", "there is still a tune"


@pytest.mark.parametrize("genre", sorted(STYLES))
def test_every_note_in_every_genre_belongs_to_the_key(genre: str) -> None:
    """Every note of every part is in the scale, except the leading note of a dominant chord."""
    for seed in range(6):
        piece, parts = written(genre, seed=seed)
        allowed = {(piece.tonic + step) % 12 for step in SCALES[piece.mode]}
        assert {one.pitch % 12 for notes in parts.values() for one in notes} <= allowed
        assert parts["melody"][-1].pitch % 12 == piece.tonic, "it ends on the tonic"
        assert min(one.pitch for one in parts["chords"] if one.start >= piece.beats) % 12 == piece.tonic


@pytest.mark.parametrize("genre", sorted(STYLES))
def test_every_note_is_within_the_range_of_its_instrument_and_the_length_of_the_piece(genre: str) -> None:
    piece, parts = written(genre, 20)
    for part, notes in parts.items():
        assert notes
        assert all(0 <= one.start * piece.beat < piece.seconds for one in notes)
        assert all(one.length > 0 and 24 <= one.pitch <= 100 for one in notes)
        if part == "melody":
            low, high = VOICES[piece.players[part]].melody
            assert all(low <= one.pitch <= high for one in notes)


@pytest.mark.parametrize("genre", sorted(STYLES))
def test_a_melody_moves_by_steps_and_repeats_its_motif(genre: str) -> None:
    """A melody moves by steps more often than by leaps, and it repeats its motif."""
    steps, leaps, repeated, bars = 0, 0, 0, 0
    for seed in range(8):
        piece, parts = written(genre, 40, seed)
        melody = parts["melody"]
        for first, second in pairwise(melody):
            steps += abs(first.pitch - second.pitch) <= 4
            leaps += abs(first.pitch - second.pitch) > 7
            assert abs(first.pitch - second.pitch) <= 12
        rhythms = [
            tuple(one.start % piece.meter for one in melody if one.start // piece.meter == bar)
            for bar in range(piece.bars)
        ]
        bars += len(rhythms)
        repeated += len(rhythms) - len(set(rhythms))
    assert steps > 15 * leaps
    assert repeated > 0.4 * bars


def test_successive_chords_are_close_to_each_other() -> None:
    for seed in range(10):
        piece, parts = written("flute and strings, slow", 40, seed)
        shapes: dict[float, list[int]] = {}
        for one in parts["chords"]:
            if one.start < piece.beats:
                shapes.setdefault(one.start, []).append(one.pitch)
        for before, after in pairwise(shapes.values()):
            assert max(min(abs(pitch - old) for old in before) for pitch in after) <= 5


@pytest.mark.parametrize(
    ("text", "tempo"),
    [
        (WALTZ, 90),
        ("folk with guitar 120 bpm", 120),
        ("solo piano arpeggios 104 bpm", 104),
        ("folk 100 bpm", 100),
    ],
)
def test_the_requested_tempo_can_be_measured_in_the_sound(text: str, tempo: int) -> None:
    """The rises of the sound repeat more strongly at the requested tempo than at any tempo near it."""
    strength = pulse(heard(text, 16))
    at = tempo - 40
    beside = np.concatenate([strength[max(0, at - 14) : at - 4], strength[at + 5 : at + 15]])
    near = strength[max(0, at - 1) : at + 2].max()
    assert near > beside.max()
    assert near > 0.25


@pytest.mark.parametrize("text", ["piano in C major", "guitar in C major", "strings and flute in C major"])
def test_the_power_of_the_sound_is_on_the_notes_of_the_key(text: str) -> None:
    sound = heard(text).mean(axis=0)
    power = np.abs(np.fft.rfft(sound * np.hanning(sound.size))) ** 2
    place = np.fft.rfftfreq(sound.size, 1 / RATE)
    low = (place > 200) & (place < 800)
    pitch = 69 + 12 * np.log2(place[low] / 440)
    cents = np.abs(pitch - np.round(pitch)) * 100
    inside = np.isin(np.round(pitch).astype(int) % 12, SCALES["major"])
    assert power[low][inside].sum() > 0.94 * power[low].sum(), "the white keys, and overtones of B"
    assert power[low][cents < 20].sum() > 0.9 * power[low].sum(), "in tune"


@pytest.mark.parametrize("name", sorted(VOICES))
def test_every_instrument_is_in_tune_and_has_no_clicks(name: str) -> None:
    voice = VOICES[name]
    low, high = voice.melody
    for pitch in (low, (low + high) // 2, high):
        height = hertz(pitch)
        sound = np.atleast_2d(note(voice, height, RATE * 3 // 2, 0.8, 1.0, 1))
        assert np.isfinite(sound).all()
        assert 0.1 < np.abs(sound).max() < 3
        assert np.abs(sound[:, [0, -1]]).max() < 0.01
        power = np.abs(np.fft.rfft(sound[0] * np.hanning(sound.shape[1]), 1 << 18)) ** 2
        place = np.fft.rfftfreq(1 << 18, 1 / RATE)
        peaks = []
        for number in (1, 2):
            around = np.abs(12 * np.log2(np.maximum(place, 1) / (height * number))) < 0.6
            peaks.append((power[around].max(), 1200 * np.log2(place[around][power[around].argmax()] / height / number)))
        assert abs(max(peaks)[1]) < 9, f"{name} at {pitch}: {peaks}"


@pytest.mark.parametrize("genre", sorted(STYLES))
def test_the_sound_of_every_genre_meets_technical_standards(genre: str) -> None:
    sound = heard(genre, 6, 3)
    assert sound.shape == (2, 6 * RATE)
    assert np.isfinite(sound).all()
    peak, rms = np.abs(sound).max(), float(np.sqrt((sound**2).mean()))
    assert peak <= CEILING + 1e-4
    assert loudness(sound) == pytest.approx(-14, abs=0.7)
    assert 6 < decibels(peak) - decibels(rms) < 20, "neither squashed nor spiky"
    assert np.abs(sound.mean(axis=1)).max() < 1e-3, "no direct current"
    middle, side = (sound[0] + sound[1]) / 2, (sound[0] - sound[1]) / 2
    width = decibels(float(side.std() / middle.std()))
    assert -26 < width < -2, "stereo, and still whole in mono"
    left, right = (decibels(float(channel.std())) for channel in sound)
    assert abs(left - right) < 3
    blocks = np.sqrt((middle[: middle.size // 1600 * 1600].reshape(-1, 1600) ** 2).mean(axis=1))
    assert (blocks < 1e-3).mean() < 0.15, "hardly any of it is silent"
    assert not sound[:, 0].any(), "it begins in silence"
    assert np.abs(sound[:, -40:]).max() < 1e-3, "it ends in silence"
    assert 200 < centroid(sound) < 5000


@pytest.mark.parametrize("text", ["slow strings", "choir ambient", "flute and strings"])
def test_soft_music_has_no_clicks(text: str) -> None:
    """The highest octaves, where a click would show, are far quieter than the music at every moment."""
    sound = heard(text, 10).mean(axis=0)
    spectrum = np.fft.rfft(sound)
    spectrum[np.fft.rfftfreq(sound.size, 1 / RATE) < 9000] = 0
    edge = np.abs(np.fft.irfft(spectrum, sound.size))
    assert decibels(edge.max()) < decibels(np.abs(sound).max()) - 40


def test_the_mood_changes_the_brightness_of_the_sound() -> None:
    for seed in (1, 2, 3):
        assert centroid(heard("dark strings in D", 8, seed)) < centroid(heard("happy bright strings in D", 8, seed))


def test_energetic_music_is_faster_than_calm_music() -> None:
    for genre in STYLES:
        calm, energetic = (arrange(prompt.read(f"{mood} {genre}"), 60, 1).tempo for mood in ("calm", "energetic"))
        assert calm < energetic


def test_sad_music_is_in_minor_and_happy_music_in_major() -> None:
    for seed in range(5):
        assert SCALES[arrange(prompt.read("sad piano"), 8, seed).mode][2] == 3
        assert SCALES[arrange(prompt.read("happy piano"), 8, seed).mode][2] == 4


@settings(max_examples=60, deadline=None)
@given(
    words=st.lists(
        st.sampled_from([*STYLES, *VOICES, "3/4", "slow", "presto", "no bass", "solo", "in F# minor", "xyzzy"]),
        max_size=6,
    ),
    seconds=st.integers(1, 40),
    seed=st.integers(-(2**63), 2**64),
)
def test_any_prompt_and_duration_give_a_complete_piece(words: list[str], seconds: int, seed: int) -> None:
    piece, parts = written(" ".join(words), seconds, seed)
    tail = seconds - piece.beats * piece.beat
    assert 0.79 < tail <= 0.81 + piece.beat * piece.meter
    for notes in parts.values():
        assert notes
        assert all(one.start * piece.beat < seconds for one in notes)


@pytest.mark.long
@pytest.mark.parametrize("seconds", [1, 2, 3, 9, 31])
def test_the_duration_is_exact(seconds: int) -> None:
    assert heard("ambient piano", seconds).shape == (2, seconds * RATE)


def test_the_same_seed_makes_the_same_bytes_and_another_seed_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def made(seed: int) -> bytes:
        read = prompt.read("folk")
        path: Path = studio.save(normalised(studio.perform(read, 3, seed), "peak"), "wav")
        return path.read_bytes()

    assert made(1) == made(1)
    assert made(1) != made(2)


def test_a_wav_file_is_stereo_with_sixteen_bits_at_32_khz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sound = heard("piano", 2)
    with wave.open(str(studio.save(sound, "wav"))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 32000)
        counts = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2).T
    assert np.abs(counts / 32767 - sound).max() < 1e-4


def test_an_mp3_file_sounds_like_the_wav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile: Any = pytest.importorskip("soundfile")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sound = heard("piano", 4)
    path = studio.save(sound, "mp3")
    assert path.suffix == ".mp3"
    assert soundfile.info(path).format == "MP3"
    assert path.stat().st_size < sound.size
    again = soundfile.read(path, dtype="float32")[0].T
    assert abs(again.shape[1] / RATE - 4) < 0.1
    assert centroid(again) == pytest.approx(centroid(sound), rel=0.05)
    assert loudness(again) == pytest.approx(loudness(sound), abs=0.6)  # the encoder reduces the level by 5%


def test_a_sine_is_as_loud_as_the_standard_says() -> None:
    """ITU-R BS.1770: 997 Hz at full scale in one channel is -3.01 LUFS, in both 0 LUFS."""
    time = np.arange(5 * RATE) / RATE
    sine = np.sin(2 * np.pi * 997 * time)
    assert loudness(np.stack([sine, 0 * sine])) == pytest.approx(-3.01, abs=0.05)
    assert loudness(np.stack([sine, sine])) == pytest.approx(0, abs=0.05)
    assert loudness(np.zeros((2, RATE))) == float("-inf")


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 9000), gain=st.floats(0.01, 30))
def test_the_limiter_keeps_peaks_below_the_ceiling_and_quiet_sound_unchanged(seed: int, size: int, gain: float) -> None:
    sound = (np.random.default_rng(seed).standard_normal((2, size)) * gain).astype(np.float32)
    held = limited(sound)
    assert np.abs(held).max() <= CEILING * 1.0001
    if np.abs(sound).max() <= CEILING:
        assert np.array_equal(held, sound)


def test_each_normalization_strategy_has_its_own_level() -> None:
    sound = heard("folk", 6, 1, "clip") * 0.5
    assert np.abs(normalised(sound, "peak")).max() == pytest.approx(CEILING, rel=1e-3)
    assert decibels(float(np.sqrt((normalised(sound, "rms") ** 2).mean()))) == pytest.approx(-18, abs=0.3)
    assert loudness(normalised(sound, "loudness")) == pytest.approx(-14, abs=0.3)
    assert np.array_equal(normalised(sound, "clip"), sound)
    assert np.abs(normalised(sound * 20, "clip")).max() <= CEILING


def test_a_very_long_prompt_is_read_quickly() -> None:
    assert prompt.read("a calm piano waltz, not too sad, " * 4000 + "in D minor").tonic == 2


def test_the_log_counts_seconds_as_tqdm_does(capsys: pytest.CaptureFixture[str]) -> None:
    studio.perform(prompt.read("piano"), 4, 1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "  0%|          | 0/4 [00:00<?, ?it/s]"
    assert [line.split("|")[2].split()[0] for line in lines] == ["0/4", "1/4", "2/4", "3/4", "4/4"]
    assert lines[-1].startswith("100%|██████████| 4/4 [")


def test_durations_beyond_the_bounds_are_shortened_or_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert studio.bounded(121) == 120
    assert "Duration set to 120 s (asked for 121)" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"duration must be at least 1 second, not 0"):
        studio.bounded(0)


HARNESS = """
import sys, types
from pathlib import Path
cog = types.ModuleType("cog")
cog.BasePredictor, cog.Path, cog.Input = object, Path, lambda **options: options.get("default")
sys.modules["cog"] = cog
import predict
model = predict.Predictor()
model.setup()
run = model.predict
"""
"""Replaces the cog package, which is not installed here. An ``Input`` is its default."""


def run(model: str, code: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": "../../_shared", "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(tmp_path),
                   "PYTHONIOENCODING": "utf-8"}  # fmt: skip
    command = [sys.executable, "-c", HARNESS + code]
    return subprocess.run(
        command, cwd=MODELS / model, env=environment, capture_output=True, text=True, check=True, encoding="utf-8"
    )


@pytest.mark.parametrize("model", ["meta/musicgen", "facebook/musicgen"])
def test_the_log_has_ignored_inputs_the_seed_and_the_played_words(model: str, tmp_path: Path) -> None:
    done = run(model, "print(run(prompt='sad piano opera', duration=2, top_k=5, model_version='large').name)", tmp_path)
    ignored, seed, played, missed, composing, name = done.stdout.splitlines()
    assert ignored == "Stand-in: without effect here: top_k"
    assert seed.startswith("Using seed ")
    assert (played, missed) == ("Played: sad, piano", "Stand-in: not played: opera")
    assert composing.startswith("Composing: classical, ")
    assert name == "out.wav"
    assert done.stderr.endswith("]\n")
    with wave.open(str(next(tmp_path.glob("composer-*/out.wav")))) as file:
        assert (file.getnchannels(), file.getnframes()) == (1, 2 * RATE), "a model that is not stereo has one channel"


def test_inputs_that_the_real_model_refuses_raise_its_error_messages(tmp_path: Path) -> None:
    code = """
for given in ({}, {"prompt": "x", "continuation": True}, {"input_audio": Path("x"), "model_version": "large"},
              {"prompt": "x", "multi_band_diffusion": True}):
    try:
        run(**given)
    except ValueError as error:
        print("REFUSED", error)
"""
    refused = [line for line in run("meta/musicgen", code, tmp_path).stdout.splitlines() if line.startswith("REFUSED")]
    assert [line.split()[1:4] for line in refused] == [
        ["Must", "provide", "either"],
        ["Must", "provide", "`input_audio`"],
        ["`stereo-large`", "and", "`large`"],
        ["Multi-Band", "Diffusion", "is"],
    ]


def test_both_musicgen_names_have_the_same_files() -> None:
    meta, facebook = (MODELS / owner / "musicgen" for owner in ("meta", "facebook"))
    for name in ("predict.py", "cog.yaml", "example.json", "openapi.json"):
        assert (meta / name).read_bytes() == (facebook / name).read_bytes()
    about = tomllib.loads((meta / "about.toml").read_text("utf-8"))
    assert "671ac645ce5e552cc63a54a2bbff63fcf798043055d2dac5fc9e36a837eedcfb" in about["published"]
    for folder in (meta, facebook):
        assert (folder / "README.md").read_text("utf-8").startswith("A stand-in, not MusicGen: ")


def test_the_inputs_are_those_of_the_real_model_in_their_order(inputs: Callable[[str], list[str]]) -> None:
    assert inputs("meta/musicgen") == [
        "model_version", "prompt", "input_audio", "duration", "continuation", "continuation_start", "continuation_end",
        "multi_band_diffusion", "normalization_strategy", "top_k", "top_p", "temperature", "classifier_free_guidance",
        "output_format", "seed",
    ]  # fmt: skip
