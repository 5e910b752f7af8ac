"""Sounds made by rule, for what the recordings have too few of. Everything about a sound is drawn anew each time.

None aims at realism alone: the teacher listens to every window and says what it is like.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.fft
import scipy.signal
from numpy.typing import NDArray

from training.effects import Random, Samples, fade_ends, random_curve, tilted_noise
from training.paths import RATE_HZ

Array = NDArray[np.float32]


def _log_uniform(random: Random, low: float, high: float) -> float:
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def _smooth(count: int, random: Random, rate_hz: float) -> Array:
    """A slow random curve of about unit variance, changing `rate_hz` times a second."""
    knots = max(2, int(count / RATE_HZ * rate_hz) + 2)
    return np.interp(np.linspace(0, knots - 1, count), np.arange(knots), random.standard_normal(knots)).astype("f4")


def _filter(samples: Samples, gains: Callable[[Array], NDArray[np.complex64] | Array]) -> Samples:
    """Multiply the spectrum by `gains` of the frequencies (Hz)."""
    size = scipy.fft.next_fast_len(len(samples) + RATE_HZ // 4, real=True)
    spectrum = scipy.fft.rfft(samples, size)
    spectrum *= gains(np.linspace(0, RATE_HZ / 2, len(spectrum), dtype=np.float32))
    return scipy.fft.irfft(spectrum, size)[: len(samples)].astype(np.float32)


def _resonate(samples: Samples, centres: Array, decays: Array, gains: Array) -> Samples:
    """Ring damped modes: centre frequencies (Hz), decay rates (1/s), gains."""

    def response(frequencies: Array) -> NDArray[np.complex64]:
        total = np.zeros(len(frequencies), np.complex64)
        for centre, decay, gain in zip(centres, decays, gains, strict=True):
            total += gain * decay / (decay + 2j * np.pi * (frequencies - centre))
        return total

    return _filter(samples, response)


def _random_modes(random: Random, low: float, high: float, count: int, decay: tuple[float, float]) -> list[Array]:
    centres = np.exp(random.uniform(np.log(low), np.log(high), count))
    decays = np.exp(random.uniform(np.log(decay[0]), np.log(decay[1]), count)) * (centres / low) ** 0.3
    return [centres.astype("f4"), decays.astype("f4"), (10 ** random.normal(0, 0.4, count)).astype("f4")]


def _pulses(count: int, times: NDArray[np.float64], amplitudes: NDArray[np.float64], random: Random) -> Samples:
    """Impulses at `times` (s); a few samples wide so that none is a perfect click."""
    samples = np.zeros(count, np.float32)
    index = (times * RATE_HZ).astype(int)
    inside = (index >= 0) & (index < count)
    np.add.at(samples, index[inside], amplitudes[inside].astype(np.float32))
    return samples


def _regular(seconds: float, rate_hz: float, jitter: float, random: Random) -> NDArray[np.float64]:
    """Times of about `rate_hz` events a second with relative `jitter` of the gaps."""
    number = max(1, int(seconds * rate_hz) + 1)
    gaps = (1 + jitter * random.standard_normal(number)).clip(0.2) / rate_hz
    return np.cumsum(gaps) - gaps[0] * random.random()


def _poisson(seconds: float, rate_hz: float, random: Random) -> NDArray[np.float64]:
    return np.sort(random.uniform(0, seconds, max(1, random.poisson(rate_hz * seconds))))


def _tone(pitch: Array, random: Random, harmonics: int, slope: float) -> Samples:
    """A periodic wave of random timbre along `pitch` (Hz a sample); partial k falls as k**-slope."""
    highest = int(max(1, min(harmonics, 20000 / max(20.0, float(pitch.max())))))
    spectrum = np.zeros(2048, np.complex64)
    partial = np.arange(1, highest + 1)
    amplitude = partial ** -float(slope) * 10 ** random.normal(0, 0.25, highest)
    spectrum[1 : highest + 1] = amplitude * np.exp(2j * np.pi * random.random(highest))
    table = np.fft.irfft(spectrum, 4096).astype(np.float32)
    table /= np.std(table) + 1e-9
    phase = np.cumsum(pitch / RATE_HZ, dtype=np.float64) % 1.0
    return table[(phase * 4096).astype(int) % 4096]


def _switch(count: int, random: Random, on: tuple[float, float], off: tuple[float, float], ramp: float) -> Array:
    """A 0..1 curve that is on and off for random times (s), with ramps of `ramp` seconds."""
    times, values, at = [0.0], [float(random.random() < 0.7)], 0.0
    while at < count / RATE_HZ:
        state = values[-1]
        at += random.uniform(*(on if state else off))
        times += [at, at + ramp]
        values += [state, 1.0 - state]
    return np.interp(np.arange(count) / RATE_HZ, times, values).astype(np.float32)


def _repeated(time: NDArray[np.floating], number: int, on: float, pause: float, rest: float, ramp: int) -> Array:
    """A 0..1 curve along `time`: `number` times on and off (s), then `rest`, and so on; ramps of `ramp` samples."""
    beeping = number * (on + pause)
    inside = time % (beeping + rest)
    gate = ((inside % (on + pause)) < on) & (inside < beeping)
    return np.convolve(gate.astype(np.float32), np.ones(ramp, np.float32) / ramp, "same")


def _decays(count: int, times: NDArray[np.float64], random: Random, tone: Callable[[int], Samples]) -> Samples:
    """Add `tone(i)` at each of `times` (s)."""
    samples = np.zeros(count, np.float32)
    for number, time in enumerate(times):
        first = int(time * RATE_HZ)
        if 0 <= first < count:
            part = tone(number)[: count - first]
            samples[first : first + len(part)] += part
    return samples


def engine(seconds: float, random: Random) -> Samples:
    """A piston engine: idling, revving or driving; car, diesel, motorcycle, mower, generator."""
    count = int(seconds * RATE_HZ)
    rate = _log_uniform(random, 10, 120) if random.random() < 0.5 else random.uniform(14, 38)
    wander = random.choice([0.01, 0.03, 0.3], p=[0.5, 0.3, 0.2])
    pitch = rate * np.exp(wander * _smooth(count, random, random.uniform(0.3, 4)))
    phase = np.cumsum(pitch / RATE_HZ, dtype=np.float64)
    fired = np.flatnonzero(np.diff(np.floor(phase)) > 0)
    cylinders = random.integers(1, 9)
    strength = np.tile(10 ** random.normal(0, 0.2, cylinders), len(fired) // cylinders + 1)[: len(fired)]
    strength *= 10 ** random.normal(0, random.uniform(0.05, 0.25), len(fired))
    times = fired / RATE_HZ + random.normal(0, random.uniform(0.01, 0.1) / rate, len(fired))
    pulses = _pulses(count, times, strength, random)
    body = _resonate(pulses, *_random_modes(random, 40, 400, 4, (20, 300)))
    clatter = _resonate(pulses, *_random_modes(random, 500, 6000, 6, (200, 2000)))
    gust = np.minimum(np.convolve(pulses[::48], np.exp(-np.arange(60) / random.uniform(3, 30)), "full"), 4)
    gate = np.interp(np.arange(count), np.arange(len(gust)) * 48, gust).astype(np.float32)
    exhaust = tilted_noise(count, random, random.uniform(-9, -3)) * gate
    mix = [part / (np.std(part) + 1e-9) for part in (body, clatter, exhaust, tilted_noise(count, random, -5))]
    return sum(part * _log_uniform(random, low, 1) for part, low in zip(mix, (0.1, 0.03, 0.3, 0.1), strict=True))


def impact_tool(seconds: float, random: Random) -> Samples:
    """A jackhammer, hammer drill or riveter: fast blows through a rattling body, in bursts."""
    count = int(seconds * RATE_HZ)
    rate = _log_uniform(random, 7, 60)
    times = _regular(seconds, rate, random.uniform(0.005, 0.06), random)
    blows = _pulses(count, times, 10 ** random.normal(0, random.uniform(0.05, 0.25), len(times)), random)
    noise = tilted_noise(count, random, random.uniform(-4, 3))
    tail = np.exp(-np.arange(4800) / RATE_HZ * random.uniform(60, 500)).astype(np.float32)
    gate = np.convolve(blows[::8], tail[::8], "full")
    rattle = noise * np.interp(np.arange(count), np.arange(len(gate)) * 8, gate).astype(np.float32)
    metal = _resonate(blows, *_random_modes(random, 150, 8000, 10, (40, 800)))
    thump = _resonate(blows, *_random_modes(random, 40, 200, 2, (40, 200)))
    parts = [part / (np.std(part) + 1e-9) * _log_uniform(random, 0.15, 1.5) for part in (rattle, metal, thump)]
    motor = motor_whine(seconds, random) * _log_uniform(random, 0.03, 0.7)
    return (sum(parts) + motor) * _switch(count, random, (0.4, 5), (0.1, 1.5), 0.05)


def motor_whine(seconds: float, random: Random) -> Samples:
    """An electric motor with gears and brush noise: drill, saw, mixer, shaver, blender."""
    count = int(seconds * RATE_HZ)
    running = _switch(count, random, (0.7, 8), (0.1, 2), random.uniform(0.05, 0.5))
    load = 1 + random.uniform(0.005, 0.12) * _smooth(count, random, random.uniform(0.5, 8))
    pitch = (_log_uniform(random, 60, 1200) * np.maximum(0.15, running) * load).astype(np.float32)
    whine = _tone(pitch, random, random.integers(3, 40), random.uniform(0.2, 1.5))
    gears = _tone(pitch * random.uniform(2.1, 9.7), random, 6, 1.0)
    brush = tilted_noise(count, random, random.uniform(-4, 4)) * (1 + 0.5 * np.abs(whine))
    mix = whine * _log_uniform(random, 0.2, 1) + gears * _log_uniform(random, 0.05, 0.7)
    return (mix + brush * _log_uniform(random, 0.05, 1.5)) * running**2


def air_mover(seconds: float, random: Random) -> Samples:
    """Moving air: fan, air conditioner, vacuum cleaner, hair dryer, ventilation, compressor."""
    count = int(seconds * RATE_HZ)
    shape = lambda f: random_curve(f, random, random.uniform(3, 9))  # noqa: E731 - the curve is drawn once
    air = _filter(tilted_noise(count, random, random.uniform(-8, 0)), shape)
    air *= 1 + random.uniform(0, 0.25) * _smooth(count, random, random.uniform(0.3, 12))
    blades = np.full(count, _log_uniform(random, 20, 700), np.float32)
    blades *= 1 + random.uniform(0, 0.01) * _smooth(count, random, 2)
    hum = _tone(blades, random, random.integers(1, 24), random.uniform(0.5, 2))
    mains = _tone(np.full(count, random.choice([50, 60, 100, 120]), np.float32), random, 20, random.uniform(0.6, 2))
    sound = air / (np.std(air) + 1e-9) + hum * _log_uniform(random, 0.01, 1) + mains * _log_uniform(random, 0.01, 1)
    if random.random() < 0.4:
        flutter = _tone(blades / random.integers(1, 8), random, 5, 1)
        sound *= 1 + random.uniform(0.05, 0.5) * flutter.clip(-2, 2)
    if random.random() < 0.2:
        rattle = _regular(seconds, random.uniform(3, 30), 0.1, random)
        ring = _resonate(
            _pulses(count, rattle, np.ones(len(rattle)), random), *_random_modes(random, 300, 5e3, 4, (50, 900))
        )
        sound += ring / (np.std(ring) + 1e-9) * random.uniform(0.1, 0.6)
    return sound


def siren(seconds: float, random: Random) -> Samples:
    """Wail, yelp, two-tone, hand-cranked, civil defence or car alarm, passing or standing."""
    count = int(seconds * RATE_HZ)
    time = np.arange(count) / RATE_HZ + random.uniform(0, 10)
    low, ratio = random.uniform(300, 900), random.uniform(1.25, 2.8)
    kind = random.integers(4)
    if kind == 0:
        position = 0.5 - 0.5 * np.cos(2 * np.pi * random.uniform(0.08, 0.5) * time)
    elif kind == 1:
        position = (random.uniform(1.5, 6) * time) % 1.0
        position = position if random.random() < 0.5 else 1 - np.abs(2 * position - 1)
    elif kind == 2:
        position = ((random.uniform(0.5, 2) * time) % 1.0 > 0.5).astype(float)
        ratio = random.uniform(1.15, 1.5)
    else:
        position = np.clip(time % random.uniform(5, 12) / random.uniform(2, 5), 0, 1)
    pitch = (low * ratio**position).astype(np.float32)
    if random.random() < 0.4:
        pitch *= 1 + random.uniform(0.01, 0.08) * np.tanh((np.arange(count) / count - random.random()) * -8).astype(
            "f4"
        )
    sound = _tone(pitch, random, random.integers(1, 16), random.uniform(0.5, 2.5))
    return sound * (1 + 0.3 * _smooth(count, random, random.uniform(0.3, 6))).clip(0.1)


def horn(seconds: float, random: Random) -> Samples:
    """A vehicle's horn: one to three reedy notes in short or long blasts; also truck, ship, train, bicycle."""
    count = int(seconds * RATE_HZ)
    base = _log_uniform(random, 130, 700)
    voices = [
        _tone(np.full(count, base * r, np.float32), random, random.integers(8, 40), random.uniform(0.1, 1.2))
        for r in random.choice([1, 1.19, 1.26, 1.33, 1.5], random.integers(1, 4), replace=False)
    ]
    return sum(voices) * _switch(count, random, (0.08, 1.8), (0.08, 2), 0.015)


def bell(seconds: float, random: Random) -> Samples:
    """Struck metal or its imitation: doorbell, chime, clock, church bell, bicycle bell, wind chime, triangle."""
    count = int(seconds * RATE_HZ)
    notes = _log_uniform(random, 250, 3500) * 2 ** (random.choice([0, -4, -3, -5, 4, 7, -7, 12, 2], 8) / 12)
    partials = random.choice([1, 2, 2.4, 3, 4.2, 5.4, 6.8, 8.2], random.integers(1, 7), replace=False)
    gains, decay = random.uniform(0.1, 1, len(partials)), _log_uniform(random, 0.7, 25)
    spread = random.uniform(0, 1.2)

    def strike(number: int) -> Samples:
        time = np.arange(int(min(4.0, 6 / decay) * RATE_HZ), dtype=np.float32) / RATE_HZ
        wave = np.zeros(len(time), np.float32)
        for partial, gain in zip(partials, gains, strict=True):
            frequency = np.float32(2 * np.pi * notes[number % 8] * partial)
            wave += (
                np.float32(gain) * np.sin(frequency * time) * np.exp(-np.float32(decay * partial**spread) * time)
            )
        return wave

    if random.random() < 0.5:
        gap, notes_in_call = random.uniform(0.2, 1.0), random.integers(1, 5)
        start, pause = random.uniform(0, 1), random.uniform(1, 5)
        calls = np.arange(start, seconds, gap * notes_in_call + pause)
        times = (calls[:, None] + gap * np.arange(notes_in_call)).ravel()
    else:
        times = _regular(seconds, _log_uniform(random, 0.4, 14), random.choice([0.01, 0.5]), random)
    return _decays(count, times, random, strike)


def beeps(seconds: float, random: Random) -> Samples:
    """Electronic tones in a pattern: alarm clock, smoke alarm, telephone, microwave, truck backing up, pager."""
    count = int(seconds * RATE_HZ)
    time = np.arange(count) / RATE_HZ
    base = _log_uniform(random, 350, 4200)
    on, pause = _log_uniform(random, 0.03, 1.0), _log_uniform(random, 0.03, 0.8)
    number, rest = random.integers(1, 6), random.choice([0.0, random.uniform(0.3, 3)])
    first = random.uniform(0, number * (on + pause) + rest)
    pitch = np.full(count, base, np.float32)
    if random.random() < 0.4:
        trill = ((time * _log_uniform(random, 5, 40)) % 1 > 0.5).astype(np.float32)
        pitch *= 1 + trill * random.uniform(0.05, 0.5)
    if random.random() < 0.3:
        melody = 2 ** (random.choice([0, 2, 4, 5, 7, 9, 12], 16) / 12)
        pitch *= melody[((time / (on + pause)).astype(int)) % 16].astype(np.float32)
    gate = _repeated(time + first, number, on, pause, rest, ramp=96)
    return _tone(pitch, random, random.choice([1, 1, 3, 9, 30]), random.uniform(0.3, 2)) * gate


def old_telephone(seconds: float, random: Random) -> Samples:
    """A bell struck twenty times a second in long rings."""
    count = int(seconds * RATE_HZ)
    times = _regular(seconds, random.uniform(14, 32), 0.02, random)
    hits = _pulses(count, times, np.ones(len(times)), random)
    rung = _resonate(hits, *_random_modes(random, 700, 4500, 5, (5, 60)))
    period, on = random.uniform(1.5, 6), random.uniform(0.4, 2)
    return rung * (((np.arange(count) / RATE_HZ + random.uniform(0, period)) % period) < on)


def knocks(seconds: float, random: Random) -> Samples:
    """Blows on wood, metal or floor: door knock, hammering, footsteps, slams, clapping, chopping."""
    count = int(seconds * RATE_HZ)
    if random.random() < 0.5:
        rate, size = random.uniform(2.5, 8), random.integers(2, 7)
        starts = np.arange(random.uniform(0, 1), seconds, size / rate + random.uniform(0.5, 4))
        times = (starts[:, None] + np.arange(size) / rate + random.normal(0, 0.01, (len(starts), size))).ravel()
    else:
        times = _regular(seconds, _log_uniform(random, 0.3, 5), random.choice([0.03, 0.15, 0.5]), random)
    hits = _pulses(count, times, 10 ** random.normal(0, 0.12, len(times)), random)
    wood = _resonate(hits, *_random_modes(random, random.uniform(60, 400), 3500, 8, (25, 250)))
    length = int(_log_uniform(random, 0.004, 0.08) * RATE_HZ)
    burst = tilted_noise(length, random, random.uniform(-6, 3)) * np.exp(-5 * np.arange(length) / length)
    slap = scipy.signal.oaconvolve(hits, burst.astype(np.float32))[:count]
    return wood / (np.std(wood) + 1e-9) + slap / (np.std(slap) + 1e-9) * _log_uniform(random, 0.02, 2)


def clicks(seconds: float, random: Random) -> Samples:
    """Small hard sounds: keyboard, clock, mouse, switch, camera, crackling fire, popping, frying."""
    count = int(seconds * RATE_HZ)
    dense = random.random() < 0.5
    times = (
        _poisson(seconds, _log_uniform(random, 4, 400), random)
        if dense
        else _regular(seconds, _log_uniform(random, 0.8, 12), random.choice([0.0, 0.02, 0.6]), random)
    )
    hits = _pulses(count, times, 10 ** random.normal(0, 0.5 if dense else 0.1, len(times)), random)
    sharp = _resonate(hits, *_random_modes(random, 300, 9000, 9, (150, 3000)))
    hiss = tilted_noise(count, random, random.uniform(-9, -2))
    return sharp / (np.std(sharp) + 1e-9) + hiss * _log_uniform(random, 0.003, 0.5)


def shots(seconds: float, random: Random) -> Samples:
    """Gunshots, fireworks, explosions: a sharp front, a boom and an outdoor tail; single or in bursts."""
    count = int(seconds * RATE_HZ)
    decay, tail = _log_uniform(random, 6, 120), _log_uniform(random, 0.8, 6)
    length = int(min(seconds, 2.5) * RATE_HZ)
    time = np.arange(length, dtype=np.float32) / RATE_HZ
    crack = tilted_noise(length, random, random.uniform(-4, 2)) * np.exp(-decay * time)
    boom = tilted_noise(length, random, random.uniform(-12, -6)) * np.exp(-decay * random.uniform(0.1, 0.6) * time)
    echo = tilted_noise(length, random, random.uniform(-9, -4)) * np.exp(-tail * time)
    echo *= np.abs(1 + 0.7 * _smooth(length, random, 12))
    shot = crack + boom * _log_uniform(random, 0.05, 1) + echo * _log_uniform(random, 0.01, 0.3)
    shot = np.tanh(shot * random.uniform(0.7, 4)).astype(np.float32)
    if random.random() < 0.6:
        times = _poisson(seconds, random.uniform(0.15, 1.0), random)
    else:
        burst = np.arange(random.integers(2, 20)) / random.uniform(4, 16)
        times = random.uniform(0, seconds * 0.6) + burst
    levels = 10 ** random.normal(0, 0.1, len(times))
    return _decays(count, times, random, lambda number: shot * np.float32(levels[number]))


def bubbles(seconds: float, random: Random) -> Samples:
    """Water made of ringing bubbles: drips, pouring, tap, stream, boiling, splashing."""
    count = int(seconds * RATE_HZ)
    low = _log_uniform(random, 200, 1500)
    kit = []
    for _ in range(24):
        frequency, decay = low * _log_uniform(random, 1, 8), _log_uniform(random, 15, 150)
        time = np.arange(int(min(0.3, 6 / decay) * RATE_HZ), dtype=np.float32) / RATE_HZ
        rise = random.uniform(0, 4)
        kit.append((np.sin(2 * np.pi * frequency * time * (1 + rise * time)) * np.exp(-decay * time)).astype("f4"))
    times = _poisson(seconds, min(_log_uniform(random, 0.7, 400), 2000 / seconds), random)
    levels = 10 ** random.normal(0, 0.4, len(times))
    water = _decays(count, times, random, lambda number: kit[number % 24] * np.float32(levels[number]))
    hiss = tilted_noise(count, random, random.uniform(-5, 2)) * (1 + 0.3 * _smooth(count, random, 5))
    return water / (np.std(water) + 1e-9) + hiss * _log_uniform(random, 0.005, 2)


def weather(seconds: float, random: Random) -> Samples:
    """Shaped noise that comes and goes: wind, rain, surf, leaves, distant traffic, rumble, static."""
    count = int(seconds * RATE_HZ)
    shape = lambda f: random_curve(f, random, random.uniform(2, 8))  # noqa: E731 - the curve is drawn once
    first = _filter(tilted_noise(count, random, random.uniform(-12, 3)), shape)
    second = _filter(tilted_noise(count, random, random.uniform(-12, 3)), shape)
    swell = np.exp(random.uniform(0, 1.2) * _smooth(count, random, _log_uniform(random, 0.1, 8)))
    sound = first / np.std(first) + second / np.std(second) * swell
    if random.random() < 0.5:
        drops = _poisson(seconds, _log_uniform(random, 20, 3000), random)
        hits = _pulses(count, drops, 10 ** random.normal(0, 0.4, len(drops)), random)
        patter = _resonate(hits, *_random_modes(random, 800, 9000, 6, (300, 3000)))
        sound += patter / np.std(patter) * _log_uniform(random, 0.1, 3)
    return sound


def drops(seconds: float, random: Random) -> Samples:
    """Many small hits on one surface: from a crackling fire or a dripping gutter to a downpour on tent or window.

    What makes the teacher say rain and not fire is more of them, shorter ones, and more of a hiss.
    """
    count = int(seconds * RATE_HZ)
    low, ring, dies = (_log_uniform(random, *ends) for ends in ((150, 4000), (60, 900), (200, 4000)))
    tonal = _log_uniform(random, 0.1, 1)
    times = _poisson(seconds, _log_uniform(random, 30, 2500), random)
    levels = 10 ** random.normal(0, random.uniform(0.1, 0.45), len(times))
    kind = random.integers(12, size=len(times))
    struck = np.zeros(count, np.float32)
    time = np.arange(int(0.06 * RATE_HZ), dtype=np.float32) / RATE_HZ
    for number in range(12):
        tone = np.sin(2 * np.pi * low * _log_uniform(random, 0.6, 2.5) * time + random.uniform(0, 6))
        tone *= tonal * np.exp(-ring * random.uniform(0.7, 1.4) * time)
        splash = random.standard_normal(len(time)) * np.exp(-dies * random.uniform(0.6, 1.5) * time)
        hits = _pulses(count, times[kind == number], levels[kind == number], random)
        struck += scipy.signal.oaconvolve(hits, (tone + splash).astype("f4"))[:count]
    swell = np.exp(random.uniform(0, 0.7) * _smooth(count, random, _log_uniform(random, 0.3, 4)))
    hiss = tilted_noise(count, random, random.uniform(-5, 3)) * _log_uniform(random, 0.08, 2)
    return (struck / (np.std(struck) + 1e-9) + hiss) * swell


def smoke_alarm(seconds: float, random: Random) -> Samples:
    """A piezo horn: three long beeps and a pause (ISO 8201), four short ones (carbon monoxide), or as it likes.

    Most are nearly pure tones by the time they reach a microphone; some sweep so wide and fast that they buzz.
    """
    count = int(seconds * RATE_HZ)
    time = np.arange(count, dtype=np.float32) / RATE_HZ
    free = (1, _log_uniform(random, 0.08, 2), _log_uniform(random, 0.05, 3), 0.0)
    number, on, pause, rest = [(3, 0.5, 0.5, 1.0), (4, 0.1, 0.1, 4.8), (1, 1.0, 0.0, 0.0), free][
        random.choice(4, p=[0.35, 0.1, 0.2, 0.35])
    ]
    stretch = random.uniform(0.6, 1.2)
    on, pause, rest = on * stretch, pause * stretch, rest * stretch
    first = random.uniform(0, number * (on + pause))
    base = random.uniform(2600, 3700) if random.random() < 0.85 else random.uniform(500, 1100)
    pitch = np.full(count, base, np.float32)
    if random.random() < 0.5:  # many horns warble
        wave = (time * _log_uniform(random, 2, 60)) % 1
        pitch *= 1 + _log_uniform(random, 0.01, 0.5) * (wave if random.random() < 0.5 else wave > 0.5)
    gate = _repeated(time + first, number, on, pause, rest, ramp=240)
    return _tone(pitch, random, random.choice([1, 2, 3, 5, 8]), random.uniform(0.5, 4)) * gate


def throat(seconds: float, random: Random) -> Samples:
    """A voice without words: bark, meow, cry, shout, laugh, moo, snore, cough, howl."""
    count = int(seconds * RATE_HZ)
    base = _log_uniform(random, 60, 900)
    length = _log_uniform(random, 0.08, 2.0)
    gap = length + _log_uniform(random, 0.05, 2)
    times = np.arange(random.uniform(0, 0.5), seconds, gap) + 0
    times = times + random.normal(0, 0.1 * gap, len(times))
    sway, shape = random.uniform(0.02, 0.5), random.normal(0, 1, 4)
    breath, rough = _log_uniform(random, 0.02, 2), random.uniform(0, 0.1)

    def call(_: int) -> Samples:
        size = int(length * random.uniform(0.7, 1.3) * RATE_HZ)
        contour = np.interp(np.linspace(0, 3, size), np.arange(4), shape + 0.3 * random.standard_normal(4))
        pitch = base * np.exp(sway * contour) * np.exp(rough * _smooth(size, random, 60))
        voiced = _tone(pitch.astype(np.float32), random, 60, random.uniform(0.4, 1.2))
        wave = voiced + tilted_noise(size, random, -2) * np.float32(breath)
        envelope = np.sin(np.pi * np.linspace(0, 1, size) ** random.uniform(0.3, 1.2)) ** random.uniform(0.3, 1.5)
        return (wave * envelope).astype(np.float32)

    source = _decays(count, times, random, call)
    tract = random.uniform(0.6, 2.5)
    centres = np.array([random.uniform(300, 900), random.uniform(900, 2200), 2700, 3700], "f4") * tract
    return _resonate(source, centres, np.pi * random.uniform(80, 300, 4), np.array([1, 0.6, 0.3, 0.2]))


def chirps(seconds: float, random: Random) -> Samples:
    """Whistled sweeps in phrases: birds, crickets, insects, frogs, whistles, squeaks."""
    count = int(seconds * RATE_HZ)
    base, spread = _log_uniform(random, 900, 7000), random.uniform(0.02, 0.5)
    length, rate = _log_uniform(random, 0.015, 0.5), random.uniform(1, 30)
    phrase, rest = random.integers(1, 16), random.uniform(0.05, 2)
    motif = random.normal(0, spread, (random.integers(1, 5), 4))
    gap = max(length, 1 / rate)
    starts = np.arange(random.uniform(0, 1), seconds, phrase * gap + rest)
    times = (starts[:, None] + gap * np.arange(phrase)).ravel()

    def sing(number: int) -> Samples:
        size = max(64, int(length * RATE_HZ))
        contour = np.interp(np.linspace(0, 3, size), np.arange(4), motif[number % len(motif)])
        wave = _tone((base * np.exp(contour)).clip(100, 15000).astype(np.float32), random, 3, 2.5)
        return wave * np.sin(np.pi * np.linspace(0, 1, size)).astype(np.float32)

    return _decays(count, times[:300], random, sing)


def rotor(seconds: float, random: Random) -> Samples:
    """Noise beaten by blades or rails: helicopter, propeller, washing machine, train, purring, lawn mower."""
    count = int(seconds * RATE_HZ)
    rate = _log_uniform(random, 0.8, 90) * np.exp(random.uniform(0, 0.1) * _smooth(count, random, 0.7))
    beat = _tone(rate.astype(np.float32), random, random.integers(1, 12), random.uniform(0.3, 1.5))
    sound = tilted_noise(count, random, random.uniform(-10, -1)) * np.exp(random.uniform(0.2, 1.2) * beat)
    drone = _tone((rate * random.integers(2, 30)).clip(20, 8000).astype(np.float32), random, 20, 1.2)
    fly_by = np.exp(-(((np.arange(count) / count - random.random()) * random.uniform(0, 4)) ** 2)).astype("f4")
    return (sound / np.std(sound) + drone * _log_uniform(random, 0.01, 1)) * fly_by


def shatter(seconds: float, random: Random) -> Samples:
    """Falling hard pieces: breaking glass, dishes, coins, keys, cans."""
    count = int(seconds * RATE_HZ)
    starts = _poisson(seconds, random.uniform(0.1, 1.2), random)[:6]
    pieces = random.integers(3, 40)
    times = np.concatenate([start + random.exponential(random.uniform(0.03, 0.5), pieces) for start in starts])
    low, decay = _log_uniform(random, 800, 4000), _log_uniform(random, 10, 150)

    def piece(_: int) -> Samples:
        time = np.arange(int(min(0.5, 6 / decay) * RATE_HZ), dtype=np.float32) / RATE_HZ
        wave = sum(np.sin(np.float32(6.28 * low * _log_uniform(random, 1, 5)) * time) for _ in range(3))
        return (wave * np.exp(-decay * time) * 10 ** random.normal(0, 0.4)).astype(np.float32)

    crash = tilted_noise(count, random, 2) * 0
    for start in starts:
        first = int(start * RATE_HZ)
        size = min(count - first, int(0.3 * RATE_HZ))
        crash[first : first + size] += tilted_noise(int(0.3 * RATE_HZ), random, 2)[:size] * np.exp(
            -np.arange(size) / RATE_HZ * random.uniform(15, 80)
        )
    return _decays(count, times, random, piece) + crash * np.float32(random.uniform(0, 2))


def tune(seconds: float, random: Random) -> Samples:
    """Music by dice: chords, a melody and perhaps drums."""
    count = int(seconds * RATE_HZ)
    beat = 60 / random.uniform(60, 180)
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12]) if random.random() < 0.5 else np.array([0, 2, 3, 5, 7, 8, 10, 12])
    root = _log_uniform(random, 55, 220)
    slope, attack, decay = random.uniform(0.5, 2), random.uniform(0.003, 0.1), _log_uniform(random, 0.5, 8)
    sound = np.zeros(count, np.float32)
    for octave, every, voices in ((1, 4, 3), (2, 1, 1), (4, random.choice([0.5, 1]), 1)):
        if random.random() < 0.8:
            times = np.arange(0, seconds, beat * every)

            def note(_: int, octave: int = octave, every: float = every, voices: int = voices) -> Samples:
                size = int(beat * every * 1.2 * RATE_HZ)
                time = np.arange(size) / RATE_HZ
                pitches = root * octave * 2 ** (random.choice(scale, voices) / 12)
                wave = sum(_tone(np.full(size, pitch, "f4"), random, 12, slope) for pitch in pitches)
                return (wave * np.minimum(1, time / attack) * np.exp(-decay * time)).astype(np.float32)

            sound += _decays(count, times, random, note)
    if random.random() < 0.5:
        sound += knocks(seconds, random) * random.uniform(0.1, 0.7)
    return sound


MAKERS: dict[str, tuple[Callable[[float, Random], Samples], float]] = {
    "engine": (engine, 3.0),
    "impact_tool": (impact_tool, 3.0),
    "motor_whine": (motor_whine, 2.0),
    "air_mover": (air_mover, 3.0),
    "siren": (siren, 2.0),
    "horn": (horn, 1.5),
    "bell": (bell, 1.5),
    "beeps": (beeps, 1.5),
    "smoke_alarm": (smoke_alarm, 3.5),
    "old_telephone": (old_telephone, 0.5),
    "knocks": (knocks, 1.5),
    "clicks": (clicks, 1.5),
    "shots": (shots, 1.5),
    "bubbles": (bubbles, 1.0),
    "weather": (weather, 1.5),
    "drops": (drops, 2.5),
    "throat": (throat, 1.5),
    "chirps": (chirps, 1.0),
    "rotor": (rotor, 1.5),
    "shatter": (shatter, 0.7),
    "tune": (tune, 1.0),
}
"""Every maker and how often it is drawn."""

_NAMES = list(MAKERS)
_WEIGHTS = np.array([weight for _, weight in MAKERS.values()])


def make(random: Random) -> tuple[str, Samples]:
    """Draw a maker and a length; return its name and about unit-level sound."""
    name = _NAMES[random.choice(len(_NAMES), p=_WEIGHTS / _WEIGHTS.sum())]
    sound = np.nan_to_num(MAKERS[name][0](float(random.choice([2.0, 4.0, 5.0, 10.0])), random)).astype(np.float32)
    return name, fade_ends(sound / np.float32(np.max(np.abs(sound)) + 1e-6))
