//! Which crash is a race's own, as data: a rule is held against what was
//! recognised of a crash. Functions and frames decide, never a line number or an
//! address: those differ from kernel to kernel.

use crate::model::{Crash, CrashKind};

/// A rule. An empty list asks for nothing.
#[derive(Clone, Copy, Debug)]
pub struct CrashRule {
    /// Kinds of report.
    pub kinds: &'static [CrashKind],
    /// The faulting function, or the one to be blamed, is one of these.
    pub at: &'static [&'static str],
    /// One of these is on the call trace.
    pub below: &'static [&'static str],
}

impl CrashRule {
    /// Whether a crash is of this sort.
    pub fn fits(&self, crash: &Crash) -> bool {
        let functions = [&crash.faulting_function, &crash.function];
        let mut at = functions.into_iter().flatten();
        let mut trace = crash.call_trace.iter();
        (self.kinds.is_empty() || self.kinds.contains(&crash.kind))
            && (self.at.is_empty() || at.any(|name| self.at.contains(&plain(name))))
            && (self.below.is_empty()
                || trace.any(|frame| self.below.contains(&plain(&frame.function))))
    }
}

/// A function's name without what the compiler made of it: `.constprop.0`.
fn plain(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Frame;

    fn crash(kind: CrashKind, at: Option<&str>, trace: &[&str]) -> Crash {
        let frames = trace.iter().map(|name| Frame {
            function: (*name).to_owned(),
            ..Frame::default()
        });
        Crash {
            kind,
            faulting_function: at.map(str::to_owned),
            call_trace: frames.collect(),
            ..Crash::default()
        }
    }

    #[test]
    fn kind_function_and_frame_all_have_to_fit() {
        let rule = CrashRule {
            kinds: &[CrashKind::PageFault],
            at: &["strscpy"],
            below: &["s_next"],
        };
        let fits = |kind, at, trace: &[&str]| rule.fits(&crash(kind, at, trace));
        assert!(fits(CrashKind::PageFault, Some("strscpy"), &["s_next"]));
        assert!(fits(
            CrashKind::PageFault,
            Some("strscpy.part.0"),
            &["s_next.isra.0"]
        ));
        assert!(!fits(CrashKind::Bug, Some("strscpy"), &["s_next"]));
        assert!(!fits(CrashKind::PageFault, Some("memcpy"), &["s_next"]));
        assert!(!fits(CrashKind::PageFault, Some("strscpy"), &["seq_read"]));
        assert!(!fits(CrashKind::PageFault, None, &["s_next"]));
    }

    #[test]
    fn an_empty_list_asks_for_nothing() {
        let rule = CrashRule {
            kinds: &[],
            at: &[],
            below: &[],
        };
        assert!(rule.fits(&crash(CrashKind::Bug, None, &[])));
    }
}
