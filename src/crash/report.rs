//! The lines of one report, and the crash that they make. When a report ends
//! is decided here; where its first line is, in `scanner`.

use super::class;
use super::guilty::{self, Evidence};
use super::log_line::LogLine;
use super::metadata;
use super::recognise::Match;
use super::report_builder::ReportBuilder;
use super::signature::FrameSelector;
use super::stack_line::StackLine;
use super::title::{normalise, plain};
use crate::model::{Crash, Frame};

/// Joins what a mail program or terminal broke: `[<`, a line break, the
/// address; `RAX: `, a line break, the value.
fn rejoin(lines: &[LogLine]) -> Vec<StackLine> {
    let mut out: Vec<(String, bool)> = Vec::with_capacity(lines.len());
    for line in lines {
        let text = line.text.trim_start();
        let broken = out.last().is_some_and(|(last, _)| {
            let last = last.trim_end();
            let address = text.len() >= 8 && text.bytes().take(8).all(|b| b.is_ascii_hexdigit());
            let broken_before = line.text.len() == text.len()
                && (last.ends_with("[<") || last.ends_with('<') || last.ends_with(':'));
            // x86-64 before 2.6.24: `… at ADDRESS RIP:`, then its address.
            (address && broken_before) || (last.ends_with("RIP:") && text.starts_with(['[', '<']))
        });
        match out.last_mut() {
            Some((last, _)) if broken => last.push_str(&line.text),
            _ => out.push((line.text.clone(), line.foreign)),
        }
    }
    out.into_iter()
        .map(|(text, foreign)| StackLine {
            foreign,
            ..StackLine::new(&text)
        })
        .collect()
}

/// Reads a report that is complete or was cut.
pub(super) fn read(builder: &ReportBuilder, log_ended: bool) -> Crash {
    let signature = builder.found.row.signature;
    let first = builder.first();
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
    let lines = rejoin(&builder.lines[..builder.used]);
    // Where CPUs are stuck, the state that counts is theirs.
    let shown = guilty::section(&lines, &builder.cpus).unwrap_or(&lines);
    let own = || shown.iter().filter(|line| !line.foreign);
    let head = lines
        .iter()
        .take_while(|line| guilty::section_cpu(&line.text).is_none());
    for line in head.chain(own()).filter(|line| !line.foreign) {
        metadata::read(&line.text, &mut crash);
    }
    // What the kernel could not read is none.
    crash.code = crash.code.take().filter(|code| !code.is_empty());
    if let Some(tag) = &first.tag {
        metadata::from_tag(tag, &mut crash);
    }
    let pc = own()
        .find_map(|line| line.pc.as_ref()?.frame.clone())
        .filter(|_| !builder.mixed);
    let in_module = pc.as_ref().is_some_and(|frame| frame.module.is_some());
    crash.faulting_function = pc.as_ref().map(|frame| plain(&frame.function).to_owned());
    crash.faulting_offset = pc.as_ref().and_then(|frame| frame.offset);
    crash.faulting_frame.clone_from(&pc);
    if !builder.mixed {
        crash.call_trace = call_trace(shown);
    }
    let header = &first.text[builder.found.at.min(first.text.len())..];
    // What another report printed counts only where this one says nothing.
    let all = if builder.used < builder.lines.len() && !builder.has_frames() {
        rejoin(&builder.lines)
    } else {
        lines.clone()
    };
    name(builder, header, &all, &mut crash);
    excerpt(builder, &mut crash);
    let size = pc.and_then(|frame| frame.size);
    crash.class = class::class(&crash, header, in_module, size);
    if !crash.corrupted || builder.mixed {
        crash.corrupted_reason = corruption(builder, &lines, log_ended);
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

/// The first call trace: of a report with several it is the crash's own. The
/// caller that stands in the link register alone is put where it belongs.
fn call_trace(lines: &[StackLine]) -> Vec<Frame> {
    let Some(begins) = lines
        .iter()
        .position(|line| !line.frames.is_empty() && !line.foreign)
    else {
        return Vec::new();
    };
    let mut frames: Vec<Frame> = Vec::new();
    for (at, line) in lines[begins..].iter().enumerate() {
        if (line.heading && at > 0) || line.foreign {
            break;
        }
        // 32-bit arm names each function twice: as caller and as callee.
        let named = line.frames.len() > 1
            && frames.last().map(|frame| &frame.function) == Some(&line.frames[0].function);
        frames.extend(line.frames.iter().skip(usize::from(named)).cloned());
    }
    if let Some((place, caller)) = guilty::leaf_caller(lines) {
        frames.insert(place.min(frames.len()), caller.clone());
    }
    frames
}

/// Title and function.
fn name(builder: &ReportBuilder, header: &str, lines: &[StackLine], crash: &mut Crash) {
    let row = builder.found.row;
    let signature = row.signature;
    let guilty = guilty::function(&Evidence {
        kind: signature.kind,
        selector: signature.selector,
        skip: signature.skip,
        header,
        lines,
        cpus: &builder.cpus,
        mixed: builder.mixed,
        nested: builder.nested,
    });
    let rest = header.strip_prefix(signature.marker).unwrap_or(header);
    let mut title = signature
        .title
        .replace("{line}", header)
        .replace("{rest}", rest);
    for (number, group) in builder.found.groups.iter().enumerate().skip(1) {
        title = title.replace(&format!("{{{number}}}"), group);
    }
    if let Some(within) = &row.within {
        let found = lines[1..]
            .iter()
            .find_map(|line| within.captures(&line.text));
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
fn corruption(builder: &ReportBuilder, lines: &[StackLine], log_ended: bool) -> Option<String> {
    let signature = builder.found.row.signature;
    let used = &builder.lines[..builder.used];
    if used.iter().skip(1).any(|line| line.dropped_before) {
        return Some("the kernel dropped lines inside it".to_owned());
    }
    if builder.mixed {
        return Some("another CPU's report is mixed into it".to_owned());
    }
    if builder.interrupted {
        return Some("another report begins inside it".to_owned());
    }
    if builder.nested {
        return Some("a fault came while it was printed".to_owned());
    }
    let injected = lines.iter().any(|line| {
        line.frames
            .iter()
            .any(|frame| matches!(plain(&frame.function), "should_fail" | "should_failslab"))
    });
    if injected {
        return Some("a fault injection's trace stands inside it".to_owned());
    }
    let traced = lines
        .iter()
        .any(|line| !line.frames.is_empty() && !line.foreign);
    let needs_none = matches!(
        signature.selector,
        FrameSelector::Nowhere | FrameSelector::Named | FrameSelector::Pc | FrameSelector::Workers
    ) || signature.function_optional;
    if !needs_none && !traced {
        let cut = if log_ended {
            "the log ends before its call trace"
        } else {
            "no call trace"
        };
        return Some(cut.to_owned());
    }
    None
}
