//! The sequence of a failure as a drawing.

use super::{heading, step_lines};
use crate::model::{ProofFailure, Who};

/// The sequence of a failure as a drawing: a line of life for each side, a box
/// where it is at work.
pub(in crate::report) fn sequence(failure: &ProofFailure) -> String {
    const HALF: usize = 330;
    const LINE: usize = 16;
    const CHARACTERS: usize = 42;
    let mut boxes = String::new();
    let mut y = 40;
    for step in &failure.steps {
        let lines: Vec<String> = step_lines(step)
            .iter()
            .flat_map(|text| {
                textwrap::wrap(text.trim(), CHARACTERS)
                    .into_iter()
                    .map(std::borrow::Cow::into_owned)
                    .collect::<Vec<_>>()
            })
            .collect();
        let height = lines.len() * LINE + 12;
        let (x, class) = match step.side {
            Who::Loader => (10, "one"),
            Who::Reader => (10 + HALF, "two"),
        };
        boxes.push_str(&format!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{height}\" rx=\"4\" class=\"{class} \
             mark\"/>",
            HALF - 20
        ));
        for (index, line) in lines.iter().enumerate() {
            boxes.push_str(&format!(
                "<text x=\"{}\" y=\"{}\">{}</text>",
                x + 8,
                y + 18 + index * LINE,
                escape(line)
            ));
        }
        y += height + 10;
    }
    let mut lives = String::new();
    for (x, who, class) in [
        (HALF / 2, Who::Loader, "one"),
        (HALF + HALF / 2, Who::Reader, "two"),
    ] {
        lives.push_str(&format!(
            "<line x1=\"{x}\" y1=\"34\" x2=\"{x}\" y2=\"{y}\" class=\"grid\"/><text x=\"{x}\" \
             y=\"22\" text-anchor=\"middle\" class=\"{class}\">{}</text>",
            escape(&heading(failure, who))
        ));
    }
    format!(
        "<svg class=\"plot\" viewBox=\"0 0 {} {y}\" role=\"img\" aria-label=\"what each side did, \
         in order\" xmlns=\"http://www.w3.org/2000/svg\"><style>{} .plot rect {{ fill: var(--panel, \
         #f6f8fa); }}</style>{lives}{boxes}</svg>",
        2 * HALF,
        include_str!("../plot.css")
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
