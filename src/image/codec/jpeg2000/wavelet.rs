//! The inverse wavelet transformations (ITU-T T.800 annex F): 5-3 reversible and 9-7 irreversible.
//!
//! A level is put together line by line: each line of LL and HL, or of LH and HH, becomes one line horizontally, and lifting
//! steps over whole lines make the vertical part, so that every sample is touched while it is in the nearest cache.

use super::CodecError;

/// What has lines that are asked for from the top, each of them once or several times in a row.
pub(super) trait Lines<T> {
    /// Line `y`, or why there is none.
    fn line(&mut self, y: usize) -> Result<&[T], CodecError>;
}

/// Samples of a resolution.
pub(super) struct Plane<T> {
    width: usize,
    samples: Vec<T>,
}

impl<T: Copy + Default> Plane<T> {
    pub(super) fn new(area: [u32; 4]) -> Self {
        let (width, height) = ((area[2] - area[0]) as usize, (area[3] - area[1]) as usize);
        Self {
            width,
            samples: vec![T::default(); width * height],
        }
    }

    pub(super) fn line_mut(&mut self, y: usize) -> &mut [T] {
        &mut self.samples[y * self.width..(y + 1) * self.width]
    }
}

impl<T> Lines<T> for Plane<T> {
    fn line(&mut self, y: usize) -> Result<&[T], CodecError> {
        Ok(&self.samples[y * self.width..(y + 1) * self.width])
    }
}

/// A transformation of one line, and the lifting steps that it consists of.
pub(super) trait Wavelet: Copy + Default {
    /// Steps of lifting, in the order of decoding; each adds its neighbours to every second sample, from the low ones on.
    const STEPS: usize;
    /// What becomes of a low-pass and of a high-pass sample before the first step.
    fn scaled(self, high: bool) -> Self;
    /// One step for one sample with its two neighbours.
    fn lift(self, step: usize, before: Self, behind: Self) -> Self;
    /// The only sample of a line, where it is a high-pass one (section F.3.6).
    fn alone(self) -> Self;
}

impl Wavelet for i32 {
    const STEPS: usize = 2;

    #[inline(always)]
    fn scaled(self, _high: bool) -> Self {
        self
    }

    #[inline(always)]
    fn lift(self, step: usize, before: Self, behind: Self) -> Self {
        // equations F-5 and F-6
        if step == 0 {
            self.wrapping_sub(before.wrapping_add(behind).wrapping_add(2) >> 2)
        } else {
            self.wrapping_add(before.wrapping_add(behind) >> 1)
        }
    }

    fn alone(self) -> Self {
        self >> 1
    }
}

impl Wavelet for f32 {
    const STEPS: usize = 4;

    #[inline(always)]
    fn scaled(self, high: bool) -> Self {
        /// K of table F.4.
        const K: f32 = 1.230_174_1;
        if high { self * (1.0 / K) } else { self * K }
    }

    #[inline(always)]
    fn lift(self, step: usize, before: Self, behind: Self) -> Self {
        /// Delta, gamma, beta and alpha of table F.4.
        const FACTORS: [f32; 4] = [0.443_506_85, 0.882_911_1, -0.052_980_12, -1.586_134_3];
        self - FACTORS[step] * (before + behind)
    }

    fn alone(self) -> Self {
        self * 0.5
    }
}

/// Puts lines together horizontally.
struct Horizontal<T> {
    /// Whether the first sample of a line is high-pass.
    odd: bool,
    /// Low-pass and high-pass samples by themselves: side by side they can be lifted several at a time.
    low: Vec<T>,
    high: Vec<T>,
}

impl<T: Wavelet> Horizontal<T> {
    fn new(width: usize, odd: bool) -> Self {
        let (lows, highs) = (width.div_ceil(2), width / 2);
        let (lows, highs) = if odd { (highs, lows) } else { (lows, highs) };
        Self {
            odd,
            low: vec![T::default(); lows],
            high: vec![T::default(); highs],
        }
    }

    /// One line of low-pass and high-pass samples becomes samples.
    fn line(&mut self, low: &[T], high: &[T], line: &mut [T]) {
        if line.len() == 1 {
            line[0] = if self.odd { high[0].alone() } else { low[0] };
            return;
        }
        for (sample, low) in self.low.iter_mut().zip(low) {
            *sample = low.scaled(false);
        }
        for (sample, high) in self.high.iter_mut().zip(high) {
            *sample = high.scaled(true);
        }
        for step in 0..T::STEPS {
            let high = step % 2 == 1;
            let (changed, others) = if high {
                (&mut self.high, &self.low)
            } else {
                (&mut self.low, &self.high)
            };
            lift_line(changed, others, high == self.odd, step);
        }
        let (first, second) = if self.odd {
            (&self.high, &self.low)
        } else {
            (&self.low, &self.high)
        };
        let (pairs, rest) = line.as_chunks_mut();
        for (pair, samples) in pairs.iter_mut().zip(first.iter().zip(second)) {
            *pair = [*samples.0, *samples.1];
        }
        if let ([sample], Some(last)) = (rest, first.last()) {
            *sample = *last;
        }
    }
}

/// One step for every second sample of a line, which lie between `others`; with `leading` the first of them comes first. At
/// its ends a line is mirrored (section F.3.7).
fn lift_line<T: Wavelet>(changed: &mut [T], others: &[T], leading: bool, step: usize) {
    let (Some(first), Some(last)) = (others.first(), others.last()) else {
        return;
    };
    let start = usize::from(leading);
    let between = others.len() - 1;
    if leading {
        changed[0] = changed[0].lift(step, *first, *first);
    }
    for ((sample, before), behind) in changed[start..].iter_mut().zip(others).zip(&others[1..]) {
        *sample = sample.lift(step, *before, *behind);
    }
    if let Some(sample) = changed.get_mut(start + between) {
        *sample = sample.lift(step, *last, *last);
    }
}

/// Puts a level together, and hands out its lines from the top.
///
/// # Errors
/// Those of the lines that it asks for.
pub(super) fn level<T: Wavelet>(
    [low, right, down, both]: [&mut dyn Lines<T>; 4],
    area: [u32; 4],
    mut emit: impl FnMut(usize, &[T]),
) -> Result<(), CodecError> {
    let (width, height) = ((area[2] - area[0]) as usize, (area[3] - area[1]) as usize);
    if width == 0 || height == 0 {
        return Ok(());
    }
    let odd = [area[0] % 2 == 1, area[1] % 2 == 1];
    let first_low = usize::from(odd[1]);
    let is_high = |y: usize| (y + first_low) % 2 == 1;
    let mut horizontal = Horizontal::new(width, odd[0]);
    let mut fetch = |y: usize, line: &mut [T]| -> Result<(), CodecError> {
        if is_high(y) {
            horizontal.line(down.line(y / 2)?, both.line(y / 2)?, line);
        } else {
            horizontal.line(low.line(y / 2)?, right.line(y / 2)?, line);
        }
        Ok(())
    };
    let mut line = vec![T::default(); width];
    if height == 1 {
        fetch(0, &mut line)?;
        if odd[1] {
            for sample in &mut line {
                *sample = sample.alone();
            }
        }
        emit(0, &line);
        return Ok(());
    }
    // a ring of the lines that the steps still need
    let ring = 2 * T::STEPS + 4;
    let mut lines: Vec<Vec<T>> = vec![vec![T::default(); width]; ring];
    let (mut fetched, mut emitted) = (0_usize, 0_usize);
    // how far each step has come: the next line that it changes
    let mut next: Vec<usize> = (0..T::STEPS)
        .map(|step| if step % 2 == 0 { first_low } else { 1 - first_low })
        .collect();
    while emitted < height {
        if fetched < height {
            let slot = &mut lines[fetched % ring];
            fetch(fetched, slot)?;
            let high = is_high(fetched);
            for sample in slot.iter_mut() {
                *sample = sample.scaled(high);
            }
            fetched += 1;
        }
        for step in 0..T::STEPS {
            loop {
                let y = next[step];
                if y >= height {
                    break;
                }
                // its neighbours have gone through the step before
                let ready = |neighbour: usize| match step {
                    0 => neighbour < fetched,
                    _ => next[step - 1] > neighbour,
                };
                let below = if y + 1 < height { y + 1 } else { y - 1 };
                let above = if y > 0 { y - 1 } else { y + 1 };
                let own = y < fetched && (step < 2 || next[step - 2] > y);
                if !(own && ready(above) && ready(below)) {
                    break;
                }
                let mut changed = std::mem::take(&mut lines[y % ring]);
                for ((sample, above), below) in changed
                    .iter_mut()
                    .zip(&lines[above % ring])
                    .zip(&lines[below % ring])
                {
                    *sample = sample.lift(step, *above, *below);
                }
                lines[y % ring] = changed;
                next[step] = y + 2;
            }
        }
        // a line is done when the last step that changes lines of its kind has passed it, and the next line needs it no more
        let last = T::STEPS - 1;
        while emitted < height {
            let kind_last = if is_high(emitted) == (last % 2 == 1) {
                last
            } else {
                last - 1
            };
            let done = next[kind_last] > emitted;
            let needed = kind_last != last && emitted + 1 < height && next[last] <= emitted + 1;
            if !done || needed {
                break;
            }
            emit(emitted, &lines[emitted % ring]);
            emitted += 1;
        }
    }
    Ok(())
}
