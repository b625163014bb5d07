//! Numbers with their uncertainty.

use rand_core::Rng;
use serde::{Deserialize, Serialize};

use crate::random::{below, child};

/// Resamples of one bootstrap. The 95 % interval's ends then lie on the 5th smallest and largest of them.
const RESAMPLES: usize = 200;

/// A number and the interval that holds the true one 19 times of 20.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// The interval's lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// What was measured, seed by seed. Seeds are the unit of chance: what happened in one world is not independent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    seeds: Vec<Vec<f64>>,
}

/// What is told of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Statistic {
    Mean,
    /// Of each hundred, so many are at most this.
    Percentile(u32),
}

impl Sample {
    /// Adds what one seed measured.
    pub(crate) fn push_seed(&mut self, measured: Vec<f64>) {
        self.seeds.push(measured);
    }

    pub(crate) fn len(&self) -> usize {
        self.seeds.iter().map(Vec::len).sum()
    }

    /// All numbers, sorted.
    pub(crate) fn sorted(&self) -> Vec<f64> {
        sort(self.seeds.iter().flatten().copied().collect())
    }

    /// A statistic of all numbers, and its 95 % interval by a bootstrap over seeds and, within a seed, over what it
    /// measured. `None` when nothing was measured.
    pub(crate) fn estimate(&self, statistic: Statistic) -> Option<Estimate> {
        let value = statistic.of(&self.sorted())?;
        let mut rng = child(0, "bootstrap", self.len() as u64);
        let filled: Vec<_> = self.seeds.iter().filter(|seed| !seed.is_empty()).collect();
        let resamples = (0..RESAMPLES).filter_map(|_| {
            let mut drawn = Vec::with_capacity(self.len());
            for _ in 0..filled.len() {
                let seed = filled[pick(&mut rng, filled.len())];
                drawn.extend((0..seed.len()).map(|_| seed[pick(&mut rng, seed.len())]));
            }
            statistic.of(&sort(drawn))
        });
        let resampled = sort(resamples.collect());
        let outside = RESAMPLES / 40; // 2.5 % on either side
        Some(Estimate {
            value,
            low: resampled.get(outside).copied().unwrap_or(value),
            high: resampled.iter().rev().nth(outside).copied().unwrap_or(value),
        })
    }
}

impl Statistic {
    /// Of numbers in order; `None` of none.
    fn of(self, sorted: &[f64]) -> Option<f64> {
        let last = sorted.len().checked_sub(1)?;
        Some(match self {
            Self::Mean => sorted.iter().sum::<f64>() / sorted.len() as f64,
            Self::Percentile(percent) => {
                let rank = (sorted.len() * percent as usize).div_ceil(100).saturating_sub(1);
                sorted[rank.min(last)]
            }
        })
    }
}

fn pick(rng: &mut impl Rng, len: usize) -> usize {
    below(rng, len as u64) as usize // below `len`
}

fn sort(mut numbers: Vec<f64>) -> Vec<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_hold_the_truth_and_shrink_with_more_numbers() {
        let mut rng = child(1, "stats", 0);
        let mut few = Sample::default();
        let mut many = Sample::default();
        for _ in 0..5 {
            let mut draw = |count| (0..count).map(|_| below(&mut rng, 1_000) as f64).collect::<Vec<_>>();
            few.push_seed(draw(20));
            many.push_seed(draw(2_000));
        }
        for statistic in [Statistic::Mean, Statistic::Percentile(50)] {
            let [few, many] = [&few, &many].map(|sample| sample.estimate(statistic).expect("numbers"));
            assert!(few.low <= 500.0 && few.high >= 500.0, "{few:?}");
            assert!(many.low <= 515.0 && many.high >= 485.0, "{many:?}");
            assert!(many.high - many.low < few.high - few.low, "{few:?}, {many:?}");
        }
    }

    #[test]
    fn percentiles_are_numbers_that_occurred_and_nothing_says_nothing() {
        let mut sample = Sample::default();
        sample.push_seed(vec![]);
        assert_eq!(sample.estimate(Statistic::Mean), None);
        sample.push_seed((1..=100).map(f64::from).collect());
        for (percent, expected) in [(50, 50.0), (90, 90.0), (99, 99.0), (100, 100.0)] {
            assert_eq!(Statistic::Percentile(percent).of(&sample.sorted()), Some(expected));
        }
    }

    #[test]
    fn seeds_that_disagree_widen_the_interval() {
        let mut alike = Sample::default();
        let mut unlike = Sample::default();
        for seed in 0..4 {
            alike.push_seed((0..100).map(|i| f64::from(i % 10)).collect());
            unlike.push_seed((0..100).map(|i| f64::from(i % 10) + f64::from(seed) * 10.0).collect());
        }
        let width = |sample: &Sample| {
            let Estimate { low, high, .. } = sample.estimate(Statistic::Mean).expect("numbers");
            high - low
        };
        assert!(width(&unlike) > 4.0 * width(&alike));
    }
}
