//! Messages of the kernel that come again and again, as from a driver that prints
//! whenever it is loaded: the first is shown, the others are counted, and the
//! count is told now and then.

use std::time::{Duration, Instant};

/// Time between two words on what was folded.
const EVERY: Duration = Duration::from_secs(30);
/// Different messages that are remembered; of more, all are shown.
const MOST: usize = 64;

/// What was shown, and what was not.
#[derive(Debug)]
pub(super) struct Fold {
    seen: Vec<Seen>,
    told: Instant,
}

#[derive(Debug)]
struct Seen {
    /// The message without its numbers.
    shape: String,
    text: String,
    folded: u64,
}

impl Default for Fold {
    fn default() -> Self {
        Self {
            seen: Vec::new(),
            told: Instant::now(),
        }
    }
}

impl Fold {
    /// A message: what of it is to be shown.
    pub(super) fn hear(&mut self, text: String) -> Option<String> {
        let shape = shape(&text);
        if let Some(seen) = self.seen.iter_mut().find(|seen| seen.shape == shape) {
            seen.folded += 1;
            return None;
        }
        if self.seen.len() < MOST {
            self.seen.push(Seen {
                shape,
                text: text.clone(),
                folded: 0,
            });
        }
        Some(text)
    }

    /// The count of what was folded, if it is time.
    pub(super) fn due(&mut self, now: Instant) -> Option<String> {
        if now.duration_since(self.told) < EVERY {
            return None;
        }
        self.told = now;
        self.rest()
    }

    /// The count of what was folded since the last word.
    pub(super) fn rest(&mut self) -> Option<String> {
        let folded: u64 = self.seen.iter().map(|seen| seen.folded).sum();
        let first = self.seen.iter().find(|seen| seen.folded > 0)?;
        let told = format!("… {folded} more such as: {}", first.text);
        self.seen.iter_mut().for_each(|seen| seen.folded = 0);
        Some(told)
    }
}

/// A message without its numbers.
fn shape(text: &str) -> String {
    let mut shape = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '0'..='9' if shape.ends_with('#') => {}
            '0'..='9' => shape.push('#'),
            c => shape.push(c),
        }
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_shown_and_the_others_are_counted() {
        let mut fold = Fold::default();
        let shown: Vec<String> = (0..80)
            .filter_map(|i| fold.hear(format!("null_blk: disk nullb{i} created")))
            .collect();
        assert_eq!(shown, ["null_blk: disk nullb0 created"]);
        assert!(fold.hear("another".to_owned()).is_some());
        assert_eq!(fold.due(Instant::now()), None);
        let told = fold.due(Instant::now() + EVERY).unwrap();
        assert_eq!(told, "… 79 more such as: null_blk: disk nullb0 created");
        assert_eq!(fold.rest(), None);
    }
}
