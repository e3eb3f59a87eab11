"""What the simulated event camera is like: its parameters, and the path on which the digit moves before it."""

from __future__ import annotations

from dataclasses import dataclass

from snn_helpers._checks import check_int

FIELD_PX = 34  # N-MNIST's field of view, in both directions
DIGIT_PX = 28
STEP_US = 512  # of the simulation; a power of two, so that interpolating within a step is a shift
KNOT_US = 5_000  # spacing of the path's knots

# Where the digit's top-left corner is every 5 ms, in 1/1000 px, the pixel's latency included. Obtained from 100 (first
# pass) and 200 (corrections) of the training recordings 00001-01000: in each bin of 5 ms the shift and the velocity
# were sought for which the gradient of the digits' log intensity best explains the ON minus OFF events, all recordings
# together; the speeds were then corrected by the real against the simulated velocities and event rates.
# fmt: off
PATH_X_MILLI_PX = (
    516, 508, 492, 454, 407, 377, 354, 330, 340, 374, 441, 682, 1036, 1323, 1640, 1863, 1932, 1978, 2016,
    2058, 2112, 2175, 2253, 2348, 2449, 2622, 2926, 3271, 3624, 3973, 4215, 4342, 4423, 4584, 4796, 4977,
    5116, 5205, 5267, 5347, 5456, 5586, 5694, 5758, 5789, 5793, 5616, 5091, 4607, 4119, 3646, 3152, 2608,
    2093, 1644, 1317, 1066, 834, 645, 534, 487, 481, 479,
)
PATH_Y_MILLI_PX = (
    1191, 1218, 1282, 1445, 1688, 1974, 2371, 2905, 3491, 4155, 4818, 5418, 5896, 6247, 6516, 6623, 6659,
    6680, 6653, 6605, 6551, 6491, 6442, 6435, 6420, 6349, 6168, 5835, 5382, 4832, 4219, 3606, 3045, 2481,
    1999, 1678, 1501, 1409, 1386, 1398, 1426, 1462, 1485, 1474, 1455, 1444, 1438, 1443, 1488, 1503, 1492,
    1475, 1434, 1391, 1346, 1286, 1231, 1201, 1204, 1216, 1227, 1232, 1235,
)
# fmt: on
PATH_RANGE_MILLI_PX = (-3_000, 9_000)
NOISE_STEPS = 8  # a pixel has at most one noise event in as many steps


@dataclass(frozen=True)
class Camera:
    """Integer parameters of the simulated camera; the defaults are fitted to real N-MNIST recordings.

    The fit is a coordinate descent on figures over every eighth of the training recordings 00001-01000; most of them
    are those that `benchmarks/camera.py` prints for all 1,000. Nothing in it belongs to a single digit or recording.

    Attributes
    ----------
    path_x_milli_px, path_y_milli_px : tuple of int, in [-3000, 9000]
        Top-left corner of the 28 x 28 digit in the 34 x 34 field every 5 ms, in 1/1000 px; linear in between. A
        recording lasts as long as its path.
    saccade_jitter_us : int
        Standard deviation of the time by which each saccade of a recording comes early or late.
    stray_light_permille : int
        Light that reaches a pixel even from full ink, in 1/1000 of the bare ground's light.
    blur_passes : int
        Passes of the kernel (1, 2, 1) / 4 over quarter pixels: the lens has a sigma of sqrt(passes / 32) px.
    photoreceptor_us : int
        Time constant of the first-order low pass between the log intensity and the change detector; 0 for none.
    threshold_on_milli_octave, threshold_off_milli_octave : int
        Rise and fall of the log intensity that make an ON and an OFF event, in 1/1000 octave (factor 2^(1/1000)).
    mismatch_permille : int
        Standard deviation of the thresholds from pixel to pixel, redrawn for each recording: a network cannot then
        learn one sensor's pattern by heart.
    threshold_noise_permille : int
        Standard deviation of a pixel's thresholds from event to event.
    refractory_us : int, at least 512
        Shortest time between two events of a pixel.
    reset_us : int, at most `refractory_us`
        Time after an event during which the pixel forgets changes: its reference is the level at the end of it.
    leak_milli_octave_per_s : int
        Speed at which a pixel's reference sinks; makes rare ON events in a still scene.
    noise_milli_hz : int
        Rate of a pixel's noise events, of either polarity, in 1/1000 Hz.
    hot_pixel_x, hot_pixel_y, hot_pixel_milli_hz : int
        The one pixel with a noise rate of its own, and that rate. N-MNIST's camera has it at (18, 30).

    Raises
    ------
    TypeError, ValueError
        If a parameter is not a whole number or lies outside its range.
    """

    path_x_milli_px: tuple[int, ...] = PATH_X_MILLI_PX
    path_y_milli_px: tuple[int, ...] = PATH_Y_MILLI_PX
    saccade_jitter_us: int = 1_800
    stray_light_permille: int = 215
    blur_passes: int = 11
    photoreceptor_us: int = 900
    threshold_on_milli_octave: int = 300
    threshold_off_milli_octave: int = 285
    mismatch_permille: int = 50
    threshold_noise_permille: int = 30
    refractory_us: int = 1_600
    reset_us: int = 650
    leak_milli_octave_per_s: int = 100
    noise_milli_hz: int = 30
    hot_pixel_x: int = 18
    hot_pixel_y: int = 30
    hot_pixel_milli_hz: int = 46_000

    def __post_init__(self) -> None:
        highest_rate = 10**9 // (NOISE_STEPS * STEP_US)  # one noise event in every window
        ranges = {
            "saccade_jitter_us": (0, 10_000),
            "stray_light_permille": (1, 10_000),
            "blur_passes": (0, 32),
            "photoreceptor_us": (0, 100_000),
            "threshold_on_milli_octave": (10, 10_000),
            "threshold_off_milli_octave": (10, 10_000),
            "mismatch_permille": (0, 1_000),
            "threshold_noise_permille": (0, 1_000),
            "refractory_us": (STEP_US, 1_000_000),
            "leak_milli_octave_per_s": (0, 100_000),
            "noise_milli_hz": (0, highest_rate),
            "hot_pixel_x": (0, FIELD_PX - 1),
            "hot_pixel_y": (0, FIELD_PX - 1),
            "hot_pixel_milli_hz": (0, highest_rate),
        }
        for name, (low, high) in ranges.items():
            check_int(name, getattr(self, name), low, high)
        check_int("reset_us", self.reset_us, 0, self.refractory_us)
        for name in ("path_x_milli_px", "path_y_milli_px"):
            path = getattr(self, name)
            if not isinstance(path, tuple):
                raise TypeError(f"`{name}` must be a tuple of whole numbers; got {type(path).__name__}.")
            for knot, value in enumerate(path):
                check_int(f"{name}[{knot}]", value, *PATH_RANGE_MILLI_PX)
        knots = len(self.path_x_milli_px)
        if knots != len(self.path_y_milli_px) or knots < 2:
            raise ValueError(
                "`path_x_milli_px` and `path_y_milli_px` must hold the same number of knots, at least 2; "
                f"got {knots} and {len(self.path_y_milli_px)}. Give one knot every 5 ms in both."
            )
