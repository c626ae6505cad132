//! The lines of one report, and the crash that they make. When a report ends
//! is decided here; where its first line is, in `scanner`.

use super::class;
use super::guilty;
use super::metadata;
use super::report_builder::{LogLine, ReportBuilder};
use super::signature::{FrameSelector, Match};
use super::stack_line::StackLine;
use super::title::{normalise, plain};
use crate::model::{Crash, Frame};

/// Joins what a mail program or terminal broke: `[<`, a line break, the
/// address; `RAX: `, a line break, the value.
fn rejoin(lines: &[LogLine]) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(lines.len());
    for line in lines {
        let broken = out.last().is_some_and(|last| {
            let last = last.trim_end();
            let address =
                line.text.len() >= 8 && line.text.bytes().take(8).all(|b| b.is_ascii_hexdigit());
            address && (last.ends_with("[<") || last.ends_with('<') || last.ends_with(':'))
        });
        match out.last_mut() {
            Some(last) if broken => last.push_str(&line.text),
            _ => out.push(line.text.clone()),
        }
    }
    out
}

/// Reads a report that is complete or was cut.
pub(super) fn read(builder: &ReportBuilder, log_ended: bool) -> Crash {
    let row = builder.found.row;
    let signature = row.signature;
    let used = &builder.lines[..builder.used];
    let first = &used[0];
    let mut crash = Crash {
        signature: signature.name.to_owned(),
        kind: signature.kind,
        severity: signature.severity,
        ends_trial: signature.ends_trial,
        log_time_s: first.time_s,
        line: first.number,
        offset: first.offset,
        follow_ons: builder.follow_ons.clone(),
        ..Crash::default()
    };
    place(builder, &mut crash);
    let texts = rejoin(used);
    let lines: Vec<StackLine> = texts.iter().map(|text| StackLine::new(text)).collect();
    for entry in &lines {
        metadata::read(&entry.text, &mut crash);
    }
    let ip = lines
        .iter()
        .find_map(|entry| entry.pc.as_ref()?.frame.clone());
    let in_module = ip.as_ref().is_some_and(|frame| frame.module.is_some());
    crash.faulting_function = ip.as_ref().map(|frame| plain(&frame.function).to_owned());
    crash.faulting_offset = ip.and_then(|frame| frame.offset);
    crash.call_trace = call_trace(&lines);
    let header = &first.text[builder.found.at.min(first.text.len())..];
    name(builder, header, &texts, &lines, &mut crash);
    excerpt(builder, &mut crash);
    crash.class = class::class(&crash, in_module);
    if !crash.corrupted {
        crash.corrupted_reason = corruption(builder, &lines, signature.selector, log_ended);
        crash.corrupted = crash.corrupted_reason.is_some();
    }
    crash
}

/// Where the match stands, for a caret below it.
fn place(builder: &ReportBuilder, crash: &mut Crash) {
    let first = builder.first();
    let at = first.text_at + builder.found.at;
    let before = first.whole.get(..at).map_or(0, |text| text.chars().count());
    let matched = builder
        .found
        .groups
        .first()
        .map_or(0, |text| text.trim_end().chars().count());
    crash.column = u32::try_from(before).unwrap_or(0);
    crash.width = u32::try_from(matched).unwrap_or(0);
}

/// The first call trace: of a report with several it is the crash's own.
fn call_trace(lines: &[StackLine]) -> Vec<Frame> {
    let Some(begins) = lines.iter().position(|entry| !entry.frames.is_empty()) else {
        return Vec::new();
    };
    let mut frames = Vec::new();
    for entry in &lines[begins..] {
        if entry.heading {
            break;
        }
        frames.extend(entry.frames.iter().cloned());
    }
    frames
}

/// Title and function.
fn name(
    builder: &ReportBuilder,
    header: &str,
    texts: &[String],
    lines: &[StackLine],
    crash: &mut Crash,
) {
    let row = builder.found.row;
    let signature = row.signature;
    let guilty = guilty::function(signature.selector, signature.skip, header, lines);
    let rest = header.strip_prefix(signature.marker).unwrap_or(header);
    let mut title = signature
        .title
        .replace("{line}", header)
        .replace("{rest}", rest);
    for (number, group) in builder.found.groups.iter().enumerate().skip(1) {
        title = title.replace(&format!("{{{number}}}"), group);
    }
    if let Some(within) = &row.within {
        let found = texts[1..].iter().find_map(|text| within.captures(text));
        title = if let Some(found) = found {
            title.replace("{w1}", &found[1])
        } else {
            lost(crash, "the line that completes the title is missing");
            rest_of_kind(signature.name, header, rest)
        };
    }
    if title.contains("{function}") {
        if guilty.is_none() && signature.function_optional {
            title = title.replace(" in {function}", "");
        } else if guilty.is_none() {
            lost(crash, "no frame that could be guilty");
        }
        title = title.replace("{function}", guilty.as_deref().unwrap_or("corrupted"));
    }
    if signature.cut {
        lost(crash, "the beginning of the report is missing");
    }
    crash.function = guilty.or_else(|| named_by_group(&builder.found));
    crash.title = normalise(&title);
}

fn lost(crash: &mut Crash, reason: &str) {
    crash.corrupted = true;
    crash
        .corrupted_reason
        .get_or_insert_with(|| reason.to_owned());
}

/// The title of a report whose first line is all there is.
fn rest_of_kind(name: &str, header: &str, rest: &str) -> String {
    if name.starts_with("kasan") {
        format!("KASAN: {rest}")
    } else {
        header.to_owned()
    }
}

/// Some first lines name the function themselves.
fn named_by_group(found: &Match) -> Option<String> {
    let named = found.row.signature.name == "stack_protector";
    named.then(|| found.groups.get(1).cloned()).flatten()
}

fn excerpt(builder: &ReportBuilder, crash: &mut Crash) {
    crash.excerpt_line = crash.line - builder.before.len() as u64;
    crash.excerpt.clone_from(&builder.before);
    crash.excerpt.extend(
        builder.lines[..builder.used]
            .iter()
            .map(|line| line.whole.clone()),
    );
}

/// What makes a report one that should not be trusted.
fn corruption(
    builder: &ReportBuilder,
    lines: &[StackLine],
    selector: FrameSelector,
    log_ended: bool,
) -> Option<String> {
    let used = &builder.lines[..builder.used];
    if used.iter().skip(1).any(|line| line.dropped_before) {
        return Some("the kernel dropped lines inside it".to_owned());
    }
    if builder.interrupted {
        return Some("another report begins inside it".to_owned());
    }
    let injected = lines.iter().any(|entry| {
        entry
            .frames
            .iter()
            .any(|frame| matches!(plain(&frame.function), "should_fail" | "should_failslab"))
    });
    if injected {
        return Some("a fault injection's trace stands inside it".to_owned());
    }
    let traced = lines.iter().any(|entry| !entry.frames.is_empty());
    if !matches!(
        selector,
        FrameSelector::Nowhere | FrameSelector::Ip | FrameSelector::Workers
    ) && !traced
    {
        let cut = if log_ended {
            "the log ends before its call trace"
        } else {
            "no call trace"
        };
        return Some(cut.to_owned());
    }
    None
}
