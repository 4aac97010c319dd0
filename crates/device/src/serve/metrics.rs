//! What was asked and what became of it, counted, in the text format of Prometheus (version 0.0.4).
//!
//! Written by hand: a dozen numbers without a registry are shorter than the crate that would print them.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the histograms, in microseconds; 2.5 steps a decade, from a small model to a large one's swap.
const BOUNDS_US: [u64; 13] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// A number that only grows.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long something took, each time.
#[derive(Default)]
pub(crate) struct Histogram {
    /// For each bound those at most as long and longer than the bound before; then the longer ones.
    counts: [Counter; BOUNDS_US.len() + 1],
    sum_us: Counter,
}

impl Histogram {
    pub(crate) fn add(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts[BOUNDS_US.partition_point(|bound| *bound < us)].add(1);
        self.sum_us.add(us);
    }
}

/// Requests of all sorts.
#[derive(Default)]
pub(crate) struct Requests {
    begun: Counter,
    abandoned: Counter,
    /// By status.
    answered: Mutex<BTreeMap<u16, u64>>,
}

/// A request that is being answered. Dropped without an answer, it was abandoned.
pub(crate) struct Begun<'a> {
    requests: &'a Requests,
    is_answered: bool,
}

impl Requests {
    pub(crate) fn begin(&self) -> Begun<'_> {
        self.begun.add(1);
        Begun { requests: self, is_answered: false }
    }

    /// Requests that have come in.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.read()
    }

    /// Requests that were answered, however.
    pub(crate) fn answered(&self) -> u64 {
        self.by_status().values().sum()
    }

    /// Requests whose client went away before its answer.
    pub(crate) fn abandoned(&self) -> u64 {
        self.abandoned.read()
    }

    fn by_status(&self) -> BTreeMap<u16, u64> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn write(&self, page: &mut Page) {
        page.family("taskvec_requests_total", "counter", "Requests that came in.");
        page.sample("taskvec_requests_total", &[], self.begun());
        page.family("taskvec_responses_total", "counter", "Requests that were answered, by status.");
        for (status, count) in self.by_status() {
            page.sample("taskvec_responses_total", &[("status", &status)], count);
        }
        page.family("taskvec_abandoned_total", "counter", "Requests whose client went away before its answer.");
        page.sample("taskvec_abandoned_total", &[], self.abandoned());
    }
}

impl Begun<'_> {
    pub(crate) fn answered(mut self, status: u16) {
        self.is_answered = true;
        *self.requests.answered.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() += 1;
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.requests.abandoned.add(1);
        }
    }
}

/// The text that is answered.
#[derive(Default)]
pub(crate) struct Page(String);

impl Page {
    /// Begins a family; its samples follow.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &dyn Display)], value: impl Display) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.line(format_args!("{name}{labels} {value}"));
    }

    /// The samples of a histogram, in seconds, of one composition.
    pub(crate) fn histogram(&mut self, name: &str, composition: &str, histogram: &Histogram) {
        let bucket = format!("{name}_bucket");
        let mut count = 0;
        for (bound_us, counter) in BOUNDS_US.iter().zip(&histogram.counts) {
            count += counter.read();
            let bound = *bound_us as f64 / 1e6;
            self.sample(&bucket, &[("composition", &composition), ("le", &bound)], count);
        }
        count += histogram.counts[BOUNDS_US.len()].read();
        self.sample(&bucket, &[("composition", &composition), ("le", &"+Inf")], count);
        let sum = histogram.sum_us.read() as f64 / 1e6;
        self.sample(&format!("{name}_sum"), &[("composition", &composition)], sum);
        self.sample(&format!("{name}_count"), &[("composition", &composition)], count);
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }

    fn line(&mut self, line: impl Display) {
        // Writing into a string cannot fail.
        let _ = writeln!(self.0, "{line}");
    }
}

fn escaped(value: &dyn Display) -> String {
    value.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_upwards_and_bounds_belong_below() {
        let histogram = Histogram::default();
        for us in [0, 1_000, 1_001, 20_000_000] {
            histogram.add(Duration::from_micros(us));
        }
        let mut page = Page::default();
        page.histogram("took", "default", &histogram);
        let text = page.into_text();
        for line in [
            "took_bucket{composition=\"default\",le=\"0.001\"} 2\n",
            "took_bucket{composition=\"default\",le=\"0.0025\"} 3\n",
            "took_bucket{composition=\"default\",le=\"10\"} 3\n",
            "took_bucket{composition=\"default\",le=\"+Inf\"} 4\n",
            "took_sum{composition=\"default\"} 20.002001\n",
            "took_count{composition=\"default\"} 4\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }

    #[test]
    fn labels_are_escaped() {
        let mut page = Page::default();
        page.sample("a", &[("b", &"c\"d\\e\nf")], 1);
        assert_eq!(page.into_text(), "a{b=\"c\\\"d\\\\e\\nf\"} 1\n");
    }

    #[test]
    fn a_request_is_answered_or_abandoned() {
        let requests = Requests::default();
        requests.begin().answered(200);
        drop(requests.begin());
        assert_eq!((requests.begun(), requests.answered(), requests.abandoned()), (2, 1, 1));
    }
}
