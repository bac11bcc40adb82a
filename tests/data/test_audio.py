"""Audio in and out: every format gives the same sound, every bad file one clear line, the cache never a wrong clip."""

import errno
import os
import re
import tracemalloc
import zipfile

import numpy as np
import pytest
import soundfile
import torch

from interpretability.data import audio
from interpretability.data.audio import (
    ClipCache,
    Stretch,
    audio_header,
    find_sounds,
    read_audio,
    read_recording,
    stream_audio,
    write_wav,
)
from interpretability.errors import MissingError, UserError

RATE = 16000


def tone(rate=RATE, seconds=0.5, hz=440.0, amplitude=0.5):
    """A tone with a slow start and end, so that resampling has no edge to ring at."""
    t = np.arange(int(rate * seconds)) / rate
    return amplitude * np.sin(2 * np.pi * hz * t) * np.sin(np.pi * t / seconds) ** 2


def relative_error(got, expected):
    got, expected = np.asarray(got, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    assert got.shape == expected.shape
    return np.linalg.norm(got - expected) / np.linalg.norm(expected)


def one_line(caught, *parts):
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message, f"{part!r} is not in: {message}"


# ---- Reading ----


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_U8", 3e-2),
        ("a.wav", "PCM_16", 1e-4),
        ("a.wav", "PCM_24", 1e-6),
        ("a.wav", "PCM_32", 1e-6),
        ("a.wav", "FLOAT", 1e-7),
        ("a.wav", "DOUBLE", 1e-7),
        ("a.flac", "PCM_16", 1e-4),
        ("a.aiff", "PCM_16", 1e-4),
        ("a.ogg", "VORBIS", 1e-1),
    ],
)
def test_every_sample_format_gives_the_same_sound(tmp_path, name, subtype, tolerance):
    soundfile.write(tmp_path / name, tone(), RATE, subtype=subtype)
    wav = read_audio(tmp_path / name, RATE)
    assert wav.dtype == torch.float32
    assert relative_error(wav, tone()) < tolerance


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 192000, 44101, 15999, 16008])
def test_every_rate_gives_the_same_sound(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(rate), rate, subtype="DOUBLE")
    wav = read_audio(tmp_path / "a.wav", RATE)
    assert abs(wav.numel() - RATE // 2) <= 1
    # Rates beside the target's are rounded to it: 31 us of drift at the end of this clip.
    assert relative_error(wav[:7999], tone()[:7999]) < (5e-2 if rate == 15999 else 5e-3)


def test_what_the_lower_rate_cannot_hold_is_gone_not_folded_back(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(192000, hz=30000.0), 192000, subtype="FLOAT")
    assert read_audio(tmp_path / "a.wav", RATE).abs().max() < 1e-3


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_averaged_to_one_dimension(tmp_path, channels):
    stack = np.stack([tone(hz=200.0 * (i + 1)) for i in range(channels)], axis=1)
    soundfile.write(tmp_path / "a.wav", stack, RATE, subtype="FLOAT")
    wav = read_audio(tmp_path / "a.wav", RATE)
    assert wav.shape == (RATE // 2,)
    assert relative_error(wav, stack.mean(axis=1)) < 1e-6


def stereo(*channels):
    """Channels of PCM16 as factors of one tone, whose rounding is not the same in each."""
    return np.stack([np.round(32767 * factor * tone()) / 32768 for factor in channels], axis=1)


NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, (8000, 8))


@pytest.mark.parametrize(
    ("channels", "level"),
    [
        (stereo(1, -0.99999), "100|9[0-9] dB below"),
        (stereo(1, -1), "silence"),
        (stereo(1, -0.9), "2[0-9] dB below"),
        (stereo(1, -1, 1, -0.999), "[67][0-9] dB below"),
        (stereo(1, 1), None),
        (stereo(1, 0), None),
        (stereo(1, -0.5), None),
        (stereo(0, 0), None),
        (stereo(1, 0, 0, 0, 0, 0), None),
        (NOISE[:, :2], None),
        (NOISE, None),
        (stereo(1), None),
    ],
)
def test_channels_that_cancel_are_noted_and_one_of_them_can_be_taken(tmp_path, channels, level, caplog):
    path = tmp_path / "a.wav"
    soundfile.write(path, channels, RATE, subtype="PCM_16")
    recording = read_recording(path, RATE)
    assert (len(recording.notes) == 1) == (level is not None)
    if level is not None:
        assert re.search(level, recording.notes[0])
        assert "channel left or right" in recording.notes[0]
    assert torch.equal(read_audio(path, RATE), recording.wav)
    assert caplog.text.count("channels cancel") == len(recording.notes)
    for name, column in (("left", 0), ("right", 1)):
        if column < channels.shape[1]:
            one = read_recording(path, RATE, channel=name)
            assert one.notes == ()
            np.testing.assert_allclose(one.wav, channels[:, column], atol=1e-4)


def test_a_channel_that_is_not_there(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    assert torch.equal(read_audio(tmp_path / "a.wav", RATE, channel="left"), read_audio(tmp_path / "a.wav", RATE))
    with pytest.raises(UserError, match="has one channel, so there is no right one"):
        read_audio(tmp_path / "a.wav", RATE, channel="right")
    with pytest.raises(UserError, match="channel is 2, expected one of mean, left, right"):
        read_audio(tmp_path / "a.wav", RATE, channel=2)


def test_stereo_at_another_rate_is_one_clip(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([tone(44100), np.zeros(22050)], axis=1), 44100, subtype="FLOAT")
    wav = read_audio(tmp_path / "a.wav", RATE)
    assert wav.shape == (RATE // 2,)
    assert relative_error(wav, tone() / 2) < 5e-3


def test_silence_is_fine(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(1000), RATE)
    assert torch.equal(read_audio(tmp_path / "a.wav", RATE), torch.zeros(1000))


def test_clipped_audio_comes_back_as_it_is_and_nothing_is_levelled(tmp_path):
    square = np.where(tone() > 0, 1.0, -1.0)
    soundfile.write(tmp_path / "a.wav", square, RATE, subtype="PCM_16")
    assert relative_error(read_audio(tmp_path / "a.wav", RATE), square) < 1e-4
    loud = 3.0 * square
    soundfile.write(tmp_path / "b.wav", loud, RATE, subtype="FLOAT")
    assert relative_error(read_audio(tmp_path / "b.wav", RATE), loud) == 0


@pytest.mark.parametrize("rate", [RATE, 8000, 44100, 192000])
def test_one_sample_is_a_clip(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", np.array([0.5]), rate, subtype="FLOAT")
    assert read_audio(tmp_path / "a.wav", RATE).numel() >= 1


@pytest.mark.parametrize("rate", [RATE, 8000, 44100, 192000])
def test_max_seconds_is_the_start_of_the_whole(tmp_path, rate):
    noise = np.random.default_rng(0).uniform(-1, 1, rate)
    soundfile.write(tmp_path / "a.wav", noise, rate, subtype="FLOAT")
    whole = read_audio(tmp_path / "a.wav", RATE)
    part = read_audio(tmp_path / "a.wav", RATE, max_seconds=0.3)
    assert part.numel() == 4800
    torch.testing.assert_close(part, whole[:4800], rtol=0, atol=1e-6)
    torch.testing.assert_close(read_audio(tmp_path / "a.wav", RATE, max_seconds=9.0), whole)


def test_max_seconds_decodes_no_more_than_it_needs(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.zeros(10 * RATE), RATE)
    asked = []
    read = soundfile.SoundFile.read

    def counting(self, frames=-1, **options):
        asked.append(frames)
        return read(self, frames, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", counting)
    read_audio(tmp_path / "a.wav", RATE, max_seconds=1.0)
    assert len(asked) == 1
    assert RATE <= asked[0] < RATE + 200


@pytest.mark.parametrize("name", ["x.wav", "x.flac", "x.aiff", "x.ogg", "x.mp3"])
@pytest.mark.parametrize("rate", [RATE, 22050])
def test_a_part_of_a_recording_is_what_a_file_cut_there_gives(tmp_path, name, rate):
    """Wherever it starts and whatever is decoded before it, and also where it is cut once more."""
    wav = np.random.default_rng(0).standard_normal((3 * rate, 2)) * 0.1
    soundfile.write(tmp_path / name, wav, rate)
    whole, _ = soundfile.read(tmp_path / name, dtype="float32")
    for start, seconds in ((0.0, 0.5), (1.2345, 1.0), (2.9, 0.1)):
        part = Stretch(start, seconds)
        first, last = round(start * rate), round((start + seconds) * rate)
        soundfile.write(tmp_path / "cut.wav", whole[first:last], rate, subtype="FLOAT")
        for most in (None, 0.2):
            expected = read_audio(tmp_path / "cut.wav", RATE, most)
            got = read_audio(tmp_path / name, RATE, most, stretch=part)
            # The decoder of MP3 rounds the last bit by where its buffers lie.
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-6 if name == "x.mp3" else 0)


def test_a_part_beyond_the_end_is_refused(tmp_path):
    soundfile.write(tmp_path / "x.wav", tone(), RATE)
    with pytest.raises(UserError) as caught:
        read_audio(tmp_path / "x.wav", RATE, stretch=Stretch(0.5, 1.0))
    one_line(caught, "x.wav", "ends before the clip in it, which starts at 0.5 s")


def test_a_missing_file(tmp_path):
    with pytest.raises(MissingError) as caught:
        read_audio(tmp_path / "gone.wav", RATE)
    one_line(caught, tmp_path / "gone.wav", "no such audio file", "check the path")


@pytest.mark.parametrize("name", ["x" * 300 + ".wav", "a\x00b.wav"])
def test_a_name_that_no_file_can_have(tmp_path, name):
    for reader in (lambda path: read_audio(path, RATE), audio_header, ClipCache(tmp_path, RATE).load):
        with pytest.raises(MissingError) as caught:
            reader(tmp_path / name)
        one_line(caught, "no such audio file", "check the path")


def test_a_name_that_is_not_utf8(tmp_path):
    path = tmp_path / os.fsdecode(b"ch\xe8vre.wav")
    soundfile.write(os.fsencode(path), tone(), RATE, subtype="FLOAT")
    assert audio_header(path).n_samples == RATE // 2
    cache = ClipCache(tmp_path / "cache", RATE)
    assert relative_error(cache.load(path), tone()) < 1e-6
    assert torch.equal(cache.load(path), read_audio(path, RATE))
    path.write_text("words")
    with pytest.raises(UserError) as caught:
        read_audio(path, RATE)
    one_line(caught, "ch\\xe8vre.wav", "cannot be decoded")


def test_a_folder(tmp_path):
    with pytest.raises(UserError) as caught:
        read_audio(tmp_path, RATE)
    one_line(caught, tmp_path, "is a folder")


@pytest.mark.parametrize("content", [b"these are words, not sound\n" * 20, b"", b"RIFF\x00\x00"])
@pytest.mark.parametrize("name", ["a.wav", "a.ogg", "a.raw"])
def test_a_file_that_is_not_audio(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    for reader in (lambda path: read_audio(path, RATE), audio_header):
        with pytest.raises(UserError) as caught:
            reader(tmp_path / name)
        one_line(caught, tmp_path / name, "cannot be decoded", "expected an audio file", "leave it out")


def test_zero_length(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), RATE)
    for reader in (lambda path: read_audio(path, RATE), audio_header):
        with pytest.raises(UserError) as caught:
            reader(tmp_path / "a.wav")
        one_line(caught, tmp_path / "a.wav", "0 samples", "leave it out")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite(tmp_path, bad):
    samples = np.stack([tone(), tone()], axis=1)
    samples[[7, 9], 1] = bad
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(UserError) as caught:
        read_audio(tmp_path / "a.wav", RATE)
    one_line(caught, tmp_path / "a.wav", "2 of 8000 samples are NaN or infinite", "leave it out")


@pytest.mark.parametrize("settings", [(0,), (-1,), (16000.5,), (True,), (RATE, 0), (RATE, -1.0), (RATE, float("nan"))])
def test_settings_that_make_no_sense(tmp_path, settings):
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    with pytest.raises(UserError, match=r"sample_rate is|max_seconds is"):
        read_audio(tmp_path / "a.wav", *settings)


def test_the_header(tmp_path):
    soundfile.write(tmp_path / "a.flac", np.zeros((11025, 2)), 44100)
    header = audio_header(tmp_path / "a.flac")
    assert (header.n_samples, header.sample_rate, header.channels, header.duration) == (11025, 44100, 2, 0.25)


# ---- Folders of sounds ----


def test_hidden_files_are_no_sounds_and_are_counted(tmp_path, caplog):
    sounds = ["b.wav", "deep/A.FLAC", "deep/er/c.ogg", "a b.mp3"]
    hidden = ["._b.wav", "deep/._A.FLAC", "__MACOSX/b.wav", "__MACOSX/deep/._A.FLAC", ".Trash/c.wav", ".hidden.mp3"]
    others = [".DS_Store", "Thumbs.db", "desktop.ini", "notes.txt", "deep/.DS_Store"]
    folder = tmp_path / ".data"  # where the folder itself lies does not count
    for name in [*sounds, *hidden, *others]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"not opened")
    assert find_sounds(folder) == sorted(folder / name for name in sounds)
    assert f"{len(hidden)} hidden files left out" in caplog.text
    caplog.clear()
    assert len(find_sounds(folder / "deep" / "er")) == 1
    assert not caplog.text


# ---- The cache ----


@pytest.fixture
def decodes(monkeypatch):
    """The list of paths that were decoded."""
    paths = []
    decode = audio.read_audio

    def counting(path, *settings):
        paths.append(str(path))
        return decode(path, *settings)

    monkeypatch.setattr(audio, "read_audio", counting)
    return paths


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, tone(44100), 44100)
    return path


def test_a_second_load_does_not_decode(tmp_path, clip, decodes):
    first = ClipCache(tmp_path / "cache", RATE).load(clip)
    second = ClipCache(tmp_path / "cache", RATE).load(str(clip))
    assert len(decodes) == 1
    assert torch.equal(first, second)
    assert second.dtype == torch.float32
    second.mul_(0)  # the caller's own copy
    assert torch.equal(ClipCache(tmp_path / "cache", RATE).load(clip), first)


def test_no_folder_no_cache(tmp_path, clip, decodes):
    cache = ClipCache(None, RATE)
    assert torch.equal(cache.load(clip), cache.load(clip))
    assert len(decodes) == 2
    assert sorted(tmp_path.iterdir()) == [clip]


def test_each_part_of_a_recording_has_its_own_entry(tmp_path, clip, decodes):
    cache = ClipCache(tmp_path / "cache", RATE)
    whole, parts = cache.load(clip), [Stretch(0.1, 0.1), Stretch(0.2, 0.1), Stretch(0.1, 0.2)]
    for _ in range(2):
        assert [len(cache.load(clip, part)) for part in parts] == [1600, 1600, 3200]
        assert torch.equal(cache.load(clip), whole)
    assert len(decodes) == 4


@pytest.mark.parametrize("folder", [None, "cache"])
def test_a_silent_clip_is_loaded_and_noted_once(tmp_path, folder, caplog):
    soundfile.write(tmp_path / "x.wav", np.zeros(RATE), RATE)
    cache = ClipCache(folder and tmp_path / folder, RATE)
    assert not cache.load(tmp_path / "x.wav", Stretch(0.25, 0.5)).any()
    assert caplog.text.count("x.wav: the clip at 0.25 s is silent") == 1
    if folder:
        cache.load(tmp_path / "x.wav", Stretch(0.25, 0.5))
        assert caplog.text.count("is silent") == 1


def test_a_changed_file_is_decoded_again(tmp_path, clip, decodes):
    cache = ClipCache(tmp_path / "cache", RATE)
    cache.load(clip)
    status = clip.stat()
    soundfile.write(clip, tone(44100, amplitude=0.1), 44100)
    assert clip.stat().st_size == status.st_size
    os.utime(clip, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert cache.load(clip).abs().max() < 0.11
    assert len(decodes) == 2


def test_each_setting_has_its_own_entry(tmp_path, clip, monkeypatch):
    settings = [(RATE,), (8000,), (RATE, 0.1), (RATE, 0.2)]
    sizes = [ClipCache(tmp_path / "cache", *setting).load(clip).numel() for setting in settings]
    assert sizes == [8000, 4000, 1600, 3200]
    assert len(list((tmp_path / "cache").iterdir())) == 4
    before = ClipCache(tmp_path / "cache", RATE).entry(clip)
    monkeypatch.setattr(audio, "CACHE_FORMAT", audio.CACHE_FORMAT + 1)
    assert ClipCache(tmp_path / "cache", RATE).entry(clip) != before


def damage_cut(entry):
    entry.write_bytes(entry.read_bytes()[:-100])


def damage_empty(entry):
    entry.write_bytes(b"")


def damage_text(entry):
    entry.write_bytes(b"no array at all")


def damage_array(entry):
    np.save(entry.open("wb"), np.zeros(8000, dtype=np.float32))


def damage_huge_array(entry):
    """The header of an array of 10^12 samples."""
    np.save(entry.open("wb"), np.zeros(1, dtype=np.float32))
    entry.write_bytes(entry.read_bytes().replace(b"(1,), }            ", b"(1000000000000,), }"))


def damage_zip(entry):
    with zipfile.ZipFile(entry, "w") as archive:
        archive.writestr("clip", bytes(32000))


def damage_size(entry):
    os.truncate(entry, 10**11)


def damage_more(entry):
    entry.write_bytes(entry.read_bytes() + bytes(4))


def damage_pipe(entry):
    entry.unlink()
    os.mkfifo(entry)


def damage_link(entry):
    entry.unlink()
    entry.symlink_to(entry)


def damage_other(entry):
    """Another clip's entry, whole, in the place of this one."""
    path = entry.parent.parent / "other.wav"
    soundfile.write(path, tone(amplitude=0.1), RATE)
    cache = ClipCache(entry.parent, RATE)
    cache.load(path)
    cache.entry(path).replace(entry)


DAMAGES = [
    damage_cut, damage_empty, damage_text, damage_array, damage_huge_array, damage_zip, damage_size, damage_more,
    damage_pipe, damage_link, damage_other,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_a_damaged_entry_is_made_again(tmp_path, clip, decodes, damage):
    cache = ClipCache(tmp_path / "cache", RATE)
    expected = cache.load(clip)
    damage(cache.entry(clip))
    before = len(decodes)
    tracemalloc.start()
    assert torch.equal(cache.load(clip), expected)
    assert tracemalloc.get_traced_memory()[1] < 32e6
    tracemalloc.stop()
    assert torch.equal(cache.load(clip), expected)
    assert len(decodes) == before + 1


def test_a_folder_in_the_place_of_an_entry_is_left_alone(tmp_path, clip, decodes, caplog):
    cache = ClipCache(tmp_path / "cache", RATE)
    cache.entry(clip).mkdir(parents=True)
    assert torch.equal(cache.load(clip), cache.load(clip))
    assert len(decodes) == 2
    assert caplog.text.count("cannot be written") == 1


def test_no_flipped_bit_of_an_entry_is_read_as_a_sound(tmp_path, clip, decodes):
    cache = ClipCache(tmp_path / "cache", RATE)
    expected, entry = cache.load(clip), cache.entry(clip)
    content = entry.read_bytes()
    places = [*range(40), *range(40, len(content), 997), len(content) - 1]
    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        entry.write_bytes(flipped)
        assert torch.equal(cache.load(clip), expected)
    assert len(decodes) == 1 + len(places)


def test_a_cache_that_cannot_be_written_is_a_warning_not_an_end(tmp_path, clip, monkeypatch, caplog):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    cache = ClipCache(tmp_path / "cache", RATE)
    assert torch.equal(cache.load(clip), cache.load(clip))
    assert list((tmp_path / "cache").iterdir()) == []
    assert caplog.text.count("cannot be written") == 1


def test_a_clip_that_is_gone_is_missing_even_if_it_is_cached(tmp_path, clip):
    cache = ClipCache(tmp_path / "cache", RATE)
    cache.load(clip)
    clip.unlink()
    with pytest.raises(MissingError):
        cache.load(clip)


def test_a_bad_clip_leaves_nothing_in_the_cache(tmp_path):
    (tmp_path / "a.wav").write_text("words")
    with pytest.raises(UserError):
        ClipCache(tmp_path / "cache", RATE).load(tmp_path / "a.wav")
    assert not (tmp_path / "cache").exists()


class Clips(torch.utils.data.Dataset):
    """The same clip over and over."""

    def __init__(self, cache, path):
        self.cache, self.path = cache, path

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return self.cache.load(self.path)


def test_loader_processes_share_a_cache(tmp_path, clip):
    cache = ClipCache(tmp_path / "cache", RATE)
    clips = list(torch.utils.data.DataLoader(Clips(cache, clip), batch_size=1, num_workers=2, timeout=600))
    assert len(clips) == 8
    assert all(torch.equal(wav, clips[0]) for wav in clips)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [cache.entry(clip).name]


# ---- Writing ----


def test_a_written_clip_reads_back_bit_for_bit(tmp_path):
    wav = torch.randn(1001) * 2
    write_wav(tmp_path / "new" / "a.wav", wav, RATE)
    info = soundfile.info(tmp_path / "new" / "a.wav")
    assert (info.frames, info.samplerate, info.channels, info.subtype, info.format) == (1001, RATE, 1, "FLOAT", "WAV")
    assert torch.equal(read_audio(tmp_path / "new" / "a.wav", RATE), wav)


def test_the_same_clip_gives_the_same_bytes_at_any_time(tmp_path):
    wav = torch.from_numpy(tone()).requires_grad_()
    write_wav(tmp_path / "a.wav", wav, RATE)
    write_wav(tmp_path / "b.wav", wav, RATE)
    content = (tmp_path / "a.wav").read_bytes()
    assert content == (tmp_path / "b.wav").read_bytes()
    # Nothing but the format, the number of samples and the samples: float files of libsndfile hold the time too.
    assert len(content) == 12 + (8 + 16) + (8 + 4) + (8 + 4 * len(wav))
    assert [content[start : start + 4] for start in (12, 36, 48)] == [b"fmt ", b"fact", b"data"]


@pytest.mark.parametrize(
    "wav",
    [torch.zeros(2, 5), torch.zeros(()), torch.zeros(0), torch.tensor([0.0, float("nan")]), torch.tensor([1e300])],
)
def test_what_is_not_a_clip_is_not_written(tmp_path, wav):
    wav = wav.double() if wav.ndim == 1 and wav.numel() == 1 else wav
    with pytest.raises(ValueError, match=r"a\.wav"):
        write_wav(tmp_path / "a.wav", wav, RATE)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    write_wav(tmp_path / "a.wav", torch.ones(10), RATE)

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_wav(tmp_path / "a.wav", torch.zeros(10), RATE)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    assert torch.equal(read_audio(tmp_path / "a.wav", RATE), torch.ones(10))


# ---- As the file has it ----


@pytest.mark.parametrize("name", ["x.wav", "x.flac", "x.ogg", "x.mp3"])
@pytest.mark.parametrize("rate", [RATE, 44100])
def test_a_long_sound_is_the_same_in_blocks_and_as_a_whole(tmp_path, monkeypatch, name, rate):
    soundfile.write(tmp_path / name, tone(rate, seconds=2.0), rate)
    whole = read_audio(tmp_path / name, rate)
    monkeypatch.setattr(audio, "_BLOCK", 10_000)
    # The decoder of MP3 rounds the last bit by where its buffers lie.
    torch.testing.assert_close(read_audio(tmp_path / name, rate), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["x.wav", "x.flac", "x.mp3"])
def test_a_streamed_sound_is_what_the_file_holds(tmp_path, monkeypatch, name):
    wav = np.stack([tone(44100), 0.5 * tone(44100)], 1)
    soundfile.write(tmp_path / name, wav, 44100)
    expected, _ = soundfile.read(tmp_path / name, dtype="float32")
    monkeypatch.setattr(audio, "_BLOCK", 2000)
    blocks = list(stream_audio(tmp_path / name))
    assert max(map(len, blocks)) <= 1000
    np.testing.assert_allclose(np.concatenate(blocks), expected, rtol=0, atol=1e-6)
    part = np.concatenate(list(stream_audio(tmp_path / name, Stretch(0.1, 0.2))))
    np.testing.assert_allclose(part, expected[4410:13230], rtol=0, atol=1e-6)


def test_a_streamed_sound_may_hold_anything_but_has_to_be_one(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.full(8, np.nan), RATE, subtype="FLOAT")
    assert np.isnan(np.concatenate(list(stream_audio(tmp_path / "x.wav")))).all()
    with pytest.raises(MissingError):
        list(stream_audio(tmp_path / "gone.wav"))
    (tmp_path / "y.wav").write_text("hello")
    with pytest.raises(UserError, match="cannot be decoded"):
        list(stream_audio(tmp_path / "y.wav"))
