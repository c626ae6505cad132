//! Progress of a run: a bar on a terminal, a line now and then elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::model::{Outcome, Sightings, Trial};
use crate::report::seconds;
use crate::session::{Event, Phase};

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// Where a run is.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    trials: u32,
    done: u32,
    last_line: Instant,
}

impl Progress {
    /// Progress of a run of `trials` trials, called `name`.
    pub(super) fn new(with_bar: bool, name: &str, trials: u32) -> Self {
        let bar = with_bar.then(|| {
            let bar = ProgressBar::new(u64::from(trials));
            // How many trials there will be is not always known.
            let style = match trials {
                0 => "{prefix} {spinner} {pos} trials  {elapsed}  {wide_msg}",
                _ => "{prefix} [{bar:24}] {pos}/{len} trials  {elapsed}  {wide_msg}",
            };
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self {
            bar,
            trials,
            done: 0,
            last_line: Instant::now(),
        }
    }

    /// Hears an event of the kernel called `which`. Returns a line to print, if
    /// it is worth one.
    pub(super) fn hear(&mut self, which: &str, event: &Event) -> Option<String> {
        match event {
            Event::Progress {
                index,
                phase,
                raced_s,
                cycles,
                reads,
                sightings,
            } => {
                let text = match phase {
                    Phase::Boot => "starting".to_owned(),
                    Phase::Setup => "setting up".to_owned(),
                    _ => rates(*raced_s, *cycles, *reads, sightings),
                };
                self.on_the_way(format!("{which}trial {}: {text}", index + 1))
            }
            Event::Finished(trial) => Some(self.finished(which, trial)),
            Event::Kernel(text) => Some(format!("kernel: {text}")),
            Event::Note(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// Does something while the bar is out of the way.
    pub(super) fn aside(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn on_the_way(&mut self, text: String) -> Option<String> {
        if let Some(bar) = &self.bar {
            bar.set_message(text);
            return None;
        }
        (self.last_line.elapsed() > LINE_EVERY).then(|| {
            self.last_line = Instant::now();
            text
        })
    }

    fn finished(&mut self, which: &str, trial: &Trial) -> String {
        self.done += 1;
        self.last_line = Instant::now();
        if let Some(bar) = &self.bar {
            bar.set_position(u64::from(self.done));
            bar.set_message("");
        }
        let when = match (trial.outcome, trial.time_to_crash_s, trial.cycles_to_crash) {
            (Outcome::Crashed, Some(time_s), Some(cycles)) => {
                format!(" after {} of race, in cycle {cycles}", seconds(time_s))
            }
            _ => String::new(),
        };
        let of = match self.trials {
            0 => String::new(),
            trials => format!("/{trials}"),
        };
        let (number, outcome) = (trial.index + 1, trial.outcome.as_str());
        format!(
            "{which}trial {number}{of}: {outcome}{when}: {}",
            trial.reason
        )
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn rates(raced_s: f64, cycles: u64, reads: u64, seen: &Sightings) -> String {
    if raced_s <= 0.0 {
        return "setting up".to_owned();
    }
    format!(
        "{raced_s:.1} s raced, {:.0} cycles/s, {:.0} reads/s; seen: {} Live, {} Loading, \
         {} Unloading",
        cycles as f64 / raced_s,
        reads as f64 / raced_s,
        seen.live,
        seen.loading,
        seen.unloading
    )
}
