//! The values of regressions, such as a bone age: a histogram for each finding, whose buckets are twentieths of the range that its model
//! gives it.
//!
//! A [`prometheus::HistogramVec`] has the same buckets for all, so this is a collector of its own; the text format allows each series others.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{Error, Histogram, HistogramOpts, Registry};

use super::Site;

const NAME: &str = "osteon_quantity";
const HELP: &str = "Values of regressions that were given out, in the unit of the finding: a shift is drift";
const LABELS: [&str; 3] = ["model", "finding", "site"];
const BUCKETS: u32 = 20;

/// Handles to them; clones count together.
#[derive(Clone)]
pub struct Quantities {
    desc: Arc<Desc>,
    /// By model, finding and site.
    all: Arc<Mutex<BTreeMap<[String; 3], Counted>>>,
}

/// The values of one finding.
struct Counted {
    /// The range of the buckets, in bits, to tell it from another.
    range: [u32; 2],
    histogram: Histogram,
}

impl Quantities {
    pub(super) fn new(registry: &Registry) -> Result<Self, Error> {
        let labels = LABELS.map(str::to_owned).to_vec();
        let desc = Desc::new(NAME.to_owned(), HELP.to_owned(), labels, HashMap::new())?;
        let quantities = Self {
            desc: Arc::new(desc),
            all: Arc::default(),
        };
        registry.register(Box::new(quantities.clone()))?;
        Ok(quantities)
    }

    fn observe(&self, names: [String; 3], value: f32, range: [f32; 2]) -> Result<(), Error> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let bits = range.map(f32::to_bits);
        if let Some(known) = all.get(&names).filter(|known| known.range == bits) {
            known.histogram.observe(f64::from(value));
            return Ok(());
        }
        // a version with another range begins anew, as a counter does with a new process
        let histogram = histogram(&names, range)?;
        histogram.observe(f64::from(value));
        let range = bits;
        all.insert(names, Counted { range, histogram });
        Ok(())
    }

    /// A value of a regression was given out, in its unit; `range` is what its model says that it lies in.
    pub fn measured(&self, model: &str, finding: &str, site: &Site, value: f32, range: [f32; 2]) {
        let names = [model, finding, site.name()].map(str::to_owned);
        // buckets that cannot be made of a range are better missing than fatal
        let _ = self.observe(names, value, range);
    }
}

fn histogram(names: &[String; 3], [low, high]: [f32; 2]) -> Result<Histogram, Error> {
    let (low, high) = (f64::from(low), f64::from(high));
    let step = |step: u32| low + (high - low) * f64::from(step) / f64::from(BUCKETS);
    let labels = LABELS
        .iter()
        .map(|&label| label.to_owned())
        .zip(names.iter().cloned());
    let options = HistogramOpts::new(NAME, HELP)
        .buckets((1..=BUCKETS).map(step).collect())
        .const_labels(labels.collect());
    Histogram::with_opts(options)
}

impl Collector for Quantities {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let families = all.values().flat_map(|counted| counted.histogram.collect());
        let series: Vec<_> = families.flat_map(|mut family| family.take_metric()).collect();
        if series.is_empty() {
            return Vec::new();
        }
        let mut family = MetricFamily::default();
        family.set_name(NAME.to_owned());
        family.set_help(HELP.to_owned());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(series);
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::Metrics;
    use super::*;

    #[test]
    fn each_finding_has_buckets_of_its_own_range() {
        let metrics = Metrics::new().unwrap();
        assert!(!metrics.text().contains(NAME));
        let site = Site::default();
        for age in [11.0, 12.0, 120.0, 228.5, 240.0] {
            metrics
                .quantities
                .measured("hand", "bone-age", &site, age, [0.0, 240.0]);
        }
        metrics
            .quantities
            .measured("spine", "t-score", &site, -2.6, [-6.0, 4.0]);
        let text = metrics.text();
        let series = |model: &str, finding: &str, bucket: &str, count: u32| {
            let line = format!(
                "osteon_quantity_bucket{{finding=\"{finding}\",model=\"{model}\",site=\"other\",le=\"{bucket}\"}} {count}\n"
            );
            assert!(text.contains(&line), "{line}{text}");
        };
        for (bucket, count) in [
            ("12", 2),
            ("24", 2),
            ("120", 3),
            ("228", 3),
            ("240", 5),
            ("+Inf", 5),
        ] {
            series("hand", "bone-age", bucket, count);
        }
        for (bucket, count) in [("-5.5", 0), ("-2.5", 1), ("4", 1)] {
            series("spine", "t-score", bucket, count);
        }
        assert_eq!(text.matches("# TYPE osteon_quantity histogram").count(), 1);
        // a new version of the model with another range
        metrics
            .quantities
            .measured("hand", "bone-age", &site, 10.0, [0.0, 20.0]);
        let text = metrics.text();
        assert!(
            !text.contains("le=\"228\"") && text.contains("le=\"20\""),
            "{text}"
        );
    }
}
