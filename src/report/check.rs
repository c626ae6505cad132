//! The forms of a check: a table for the terminal, text, HTML, KTAP, JSON and its
//! schema. Each race of it is a report of its own.

use maud::{DOCTYPE, PreEscaped, html};
use schemars::Schema;

use super::excerpt::ascii;
use super::{Format, RenderError};
use crate::model::{CHECK_SCHEMA, CheckReport, RaceResult, Verdict};
use crate::verdict::format::seconds;

const CSS: &str = include_str!("html.css");
type Render = fn(&CheckReport) -> Result<String, RenderError>;
/// What a check can be rendered in, by the names of the table of formats.
const RENDERED: &[(&str, Render)] = &[
    ("text", |check| Ok(show_check(check))),
    ("markdown", |check| Ok(markdown(check))),
    ("html", |check| Ok(page(check))),
    ("ktap", |check| Ok(ktap(check))),
    ("json", |check| {
        let json = serde_json::to_string_pretty(check)?;
        Ok(json + "\n")
    }),
];
/// Headings of the table.
const COLUMNS: [&str; 6] = [
    "RACE",
    "REFERENCE",
    "VERDICT",
    "CYCLES",
    "TIME",
    "WHAT STANDS BEHIND IT",
];

/// A check from the bytes of a file; none if it is none.
pub fn read_check(bytes: &[u8]) -> Option<CheckReport> {
    let check: CheckReport = serde_json::from_slice(bytes).ok()?;
    (check.schema == CHECK_SCHEMA).then_some(check)
}

/// A check in a format of the table; none where that format has no form for it.
pub fn render_check(check: &CheckReport, format: &Format) -> Option<Result<String, RenderError>> {
    let (_, render) = RENDERED.iter().find(|(name, _)| *name == format.name)?;
    Some(render(check))
}

/// The schema of a check.
pub fn check_schema() -> Schema {
    let mut schema = schemars::schema_for!(CheckReport);
    let id = format!("urn:{}", CHECK_SCHEMA.replace('/', ":"));
    schema.insert("$id".to_owned(), id.into());
    schema
}

fn cells(race: &RaceResult) -> [String; 6] {
    let behind = match race.verdict {
        Some(Verdict::Pass) => race.behind.clone(),
        // What is wrong matters more than what it was measured against.
        _ => race.reason.clone(),
    };
    [
        race.race.clone(),
        race.reference.clone(),
        race.word().to_owned(),
        race.cycles.to_string(),
        match race.verdict {
            None => "-".to_owned(),
            Some(_) => seconds(race.exposure_s),
        },
        behind,
    ]
}

/// The table, with the verdict below it.
pub fn show_check(check: &CheckReport) -> String {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    rows.extend(check.races.iter().map(cells));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..COLUMNS.len())
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text + &format!("\n{}: {}\n", headline(check), check.verdict_reason)
}

fn headline(check: &CheckReport) -> String {
    let cut_short = if check.complete { "" } else { " (cut short)" };
    format!("{}{cut_short}", check.verdict.as_str().to_uppercase())
}

/// The kernel's release, or the name that it was asked for by.
fn kernel(check: &CheckReport) -> &str {
    check.release.as_deref().unwrap_or(&check.kernel)
}

fn markdown(check: &CheckReport) -> String {
    let row = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut text = format!(
        "# Known races on Linux {}\n\n**{}**: {}\n\n",
        kernel(check),
        headline(check),
        check.verdict_reason
    );
    text.push_str(&row(&COLUMNS.map(str::to_lowercase)));
    text.push_str("|---|---|---|---|---|---|\n");
    check
        .races
        .iter()
        .for_each(|race| text.push_str(&row(&cells(race))));
    text
}

fn page(check: &CheckReport) -> String {
    let title = format!("known races on Linux {}", kernel(check));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (check.verdict.as_str()) ": " (title) }
                style { (PreEscaped(CSS)) }
            }
            body {
                h1 { (title) }
                div class=(format!("verdict {}", check.verdict.as_str())) {
                    b { (headline(check)) }
                    p { (check.verdict_reason) }
                }
                table {
                    thead { tr { @for column in COLUMNS { th scope="col" { (column.to_lowercase()) } } } }
                    tbody { @for race in &check.races {
                        tr { @for cell in cells(race) { td { (cell) } } }
                    } }
                }
                @for race in &check.races {
                    h2 { (race.race) }
                    p { (race.help) " (" (race.reference) ")" }
                    p { b { (race.word()) } ": " (race.reason) }
                    p { "Behind it: " (race.behind) }
                }
                h2 { "To repeat it" }
                pre { (check.command.join(" ")) " --seed " (check.seed) }
            }
        }
    };
    page.into_string()
}

/// One line for each race. KTAP knows no "inconclusive": it is `not ok` here, and
/// a race that could not be run is skipped.
fn ktap(check: &CheckReport) -> String {
    let mut out = format!("KTAP version 1\n1..{}\n", check.races.len() + 1);
    for (index, race) in check.races.iter().enumerate() {
        let reason = one_line(&race.reason);
        let (ok, directive) = match race.verdict {
            Some(Verdict::Pass) => ("ok", String::new()),
            Some(_) => ("not ok", String::new()),
            None => ("ok", format!(" # SKIP {reason}")),
        };
        out.push_str(&format!("# {}: {reason}\n", race.word()));
        out.push_str(&format!("{ok} {} {}{directive}\n", index + 1, race.race));
    }
    out.push_str(&format!("# {}\n", one_line(&check.verdict_reason)));
    let ok = match check.verdict {
        Verdict::Pass => "ok",
        _ => "not ok",
    };
    out + &format!("{ok} {} verdict\n", check.races.len() + 1)
}

/// `#` begins a directive, and a line break ends the line.
fn one_line(text: &str) -> String {
    ascii(text).replace('#', "?")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Tool;

    fn race(name: &str, verdict: Option<Verdict>) -> RaceResult {
        RaceResult {
            race: name.to_owned(),
            help: "what goes wrong".to_owned(),
            reference: "0123456789ab".to_owned(),
            verdict,
            reason: "built without CONFIG_X # a|b".to_owned(),
            behind: "lab:x crashed 5 of 5 times".to_owned(),
            cycles: 7,
            exposure_s: 6.0,
            wall_s: 9.0,
            report: None,
        }
    }

    fn check() -> CheckReport {
        CheckReport {
            schema: CHECK_SCHEMA.to_owned(),
            tool: Tool {
                name: "modrace".to_owned(),
                version: "0".to_owned(),
            },
            verdict: Verdict::Fail,
            verdict_reason: "1 of 2 races".to_owned(),
            complete: true,
            started: String::new(),
            updated: String::new(),
            command: vec!["modrace".to_owned(), "check".to_owned()],
            seed: 1,
            kernel: "lab:fixed".to_owned(),
            release: None,
            races: vec![
                race("one", Some(Verdict::Pass)),
                race("two", Some(Verdict::Fail)),
                race("three", None),
            ],
        }
    }

    #[test]
    fn every_form_names_every_race_and_its_verdict() {
        for (name, render) in RENDERED {
            let text = render(&check()).unwrap();
            for word in ["one", "two", "three", "CONFIG_X"] {
                assert!(text.contains(word), "{name}: {text}");
            }
        }
        assert!(show_check(&check()).ends_with("FAIL: 1 of 2 races\n"));
    }

    #[test]
    fn ktap_skips_what_could_not_be_run() {
        let text = ktap(&check());
        assert!(
            text.contains("1..4\n") && text.contains("\nok 1 one\n"),
            "{text}"
        );
        assert!(text.contains("\nnot ok 2 two\n"), "{text}");
        assert!(
            text.contains("\nok 3 three # SKIP built without CONFIG_X ? a|b\n"),
            "{text}"
        );
        assert!(text.ends_with("not ok 4 verdict\n"), "{text}");
    }

    #[test]
    fn a_check_reads_back_and_fits_its_schema() {
        let json = serde_json::to_vec(&check()).unwrap();
        assert_eq!(read_check(&json), Some(check()));
        assert!(read_check(b"{}").is_none());
        let schema = serde_json::to_value(check_schema()).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&value));
    }
}
