//! Progress of a run: a bar on a terminal, a line now and then elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::Ui;
use crate::model::{Outcome, Trial};
use crate::recorder::Phase;
use crate::trial::Event;
use crate::verdict::format::seconds;

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// Shows what a run says.
#[derive(Debug)]
pub struct Progress<'a> {
    ui: &'a Ui,
    bar: Option<ProgressBar>,
    trials: u32,
    done: u32,
    last_line: Instant,
}

impl<'a> Progress<'a> {
    /// Progress of a run of `trials` trials, called `name`.
    pub fn new(ui: &'a Ui, name: &str, trials: u32) -> Self {
        let bar = (ui.is_terminal() && !ui.is_quiet()).then(|| {
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
            ui,
            bar,
            trials,
            done: 0,
            last_line: Instant::now(),
        }
    }

    /// Shows an event of the only kernel there is.
    pub fn hear(&mut self, event: &Event) {
        self.hear_of("", event);
    }

    /// Shows an event of the kernel called `which`.
    pub fn hear_of(&mut self, which: &str, event: &Event) {
        let which = if which.is_empty() {
            String::new()
        } else {
            format!("{which} ")
        };
        match event {
            Event::Started { .. } => {}
            Event::Progress {
                index,
                phase,
                raced_s,
                cycles,
                reads,
            } => {
                let text = match phase {
                    Phase::Boot | Phase::Setup => "booting".to_owned(),
                    _ => format!("{raced_s:.1} s raced, {cycles} cycles, {reads} reads"),
                };
                self.on_the_way(&format!("{which}trial {}: {text}", index + 1));
            }
            Event::Finished(trial) => self.finished(&which, trial),
            Event::Note(text) => self.line(text),
        }
    }

    /// Shows where it is: on the bar, or in a line now and then.
    pub fn status(&mut self, text: &str) {
        self.on_the_way(text);
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn on_the_way(&mut self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        } else if self.last_line.elapsed() > LINE_EVERY {
            self.last_line = Instant::now();
            self.ui.note(text);
        }
    }

    fn finished(&mut self, which: &str, trial: &Trial) {
        self.done += 1;
        self.last_line = Instant::now();
        let when = match (trial.outcome, trial.time_to_crash_s, trial.cycles_to_crash) {
            (Outcome::Crashed, Some(time_s), Some(cycles)) => {
                format!(" after {} of race, in cycle {cycles}", seconds(time_s))
            }
            _ => String::new(),
        };
        let of = if self.trials == 0 {
            String::new()
        } else {
            format!("/{}", self.trials)
        };
        let (number, outcome) = (trial.index + 1, trial.outcome.as_str());
        self.line(&format!(
            "{which}trial {number}{of}: {outcome}{when}: {}",
            trial.reason
        ));
        if let Some(bar) = &self.bar {
            bar.set_position(u64::from(self.done));
            bar.set_message("");
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.ui.note(text)),
            None => self.ui.note(text),
        }
    }
}
