//! Every fault of a list in one message that stays readable.

/// Faults that are named; the rest is counted.
const SHOWN_MAX: usize = 20;
/// Characters of a fault that are shown: names come from files and can be long.
const FAULT_CHARS_MAX: usize = 300;

/// Faults of tensors, found one by one.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    shown: Vec<String>,
    count: usize,
}

impl Faults {
    /// Adds a clause that names its tensor.
    pub fn add(&mut self, fault: String) {
        self.count += 1;
        if self.shown.len() < SHOWN_MAX {
            let cut = fault.char_indices().nth(FAULT_CHARS_MAX).map(|(at, _)| at);
            self.shown.push(cut.map_or(fault.clone(), |at| format!("{}...", &fault[..at])));
        }
    }

    /// All of them as one clause; none if there are none.
    pub fn message(&self) -> Option<String> {
        let mut message = self.shown.join("; ");
        if self.count > self.shown.len() {
            message.push_str(&format!("; and {} more", self.count - self.shown.len()));
        }
        (self.count > 0).then_some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_first_and_counts_the_rest() {
        let mut faults = Faults::default();
        assert_eq!(faults.message(), None);
        (0..25).for_each(|tensor| faults.add(format!("tensor `{tensor}` is missing")));
        let message = faults.message().unwrap();
        assert!(
            message.starts_with("tensor `0` is missing; tensor `1`") && message.ends_with("; and 5 more"),
            "{message}"
        );
        let mut long = Faults::default();
        long.add("\u{e9}".repeat(10_000));
        assert!(long.message().unwrap().len() < 700);
    }
}
