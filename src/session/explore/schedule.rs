//! Schedules as they are typed and told: `load,open,unload,read` for whole calls
//! one after another; `read@text_show+0x12,unload` where a side stops at a place,
//! with the other side's call behind it; `unload@free_module+0x1e,read@m_show+0x5`
//! where both do; `read~text_show+0x12,unload` where the task is preempted there
//! and its CPU lives on. Who is named first begins. `read/2` is a read of the second file.

use crate::interleave::calls::Call;

/// Before the place at which a side's CPU stands.
const STOPPED: char = '@';
/// Before the place at which a side's task is preempted.
const PREEMPTED: char = '~';

/// A call, the file that it is done to, and the place at which it is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneCall {
    /// The call.
    pub call: Call,
    /// The file, from 0.
    pub file: u64,
    /// The place, as [`Symbols::show`](crate::decode::symbols::Symbols::show)
    /// tells it.
    pub place: Option<String>,
    /// The task is preempted there, and its CPU lives on; else the CPU stands.
    pub preempts: bool,
}

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOrder(pub Vec<OneCall>);

impl OneOrder {
    /// From what was typed.
    pub fn parse(typed: &str) -> Result<Self, String> {
        let calls: Vec<OneCall> = typed.split(',').map(parse_call).collect::<Result<_, _>>()?;
        let order = Self(calls);
        let of_both = |calls: &[OneCall]| calls[0].call.is_loaders() != calls[1].call.is_loaders();
        if order.stops() > 0 && (order.0.len() != 2 || !of_both(&order.0)) {
            return Err(format!(
                "`{typed}`: a schedule with a stop has one call of the loader and one of the \
                 reader, such as read@m_show+0x12,unload"
            ));
        }
        if order.stops() > 0 && order.0[0].place.is_none() {
            return Err(format!(
                "`{typed}`: who begins must stop: name that call first"
            ));
        }
        if order.stops() > 1 && order.0.iter().any(|one| one.preempts) {
            return Err(format!(
                "`{typed}`: where a task is preempted the other call has no stop"
            ));
        }
        Ok(order)
    }

    /// Places at which it stops.
    pub fn stops(&self) -> usize {
        self.0.iter().filter(|one| one.place.is_some()).count()
    }
}

impl std::fmt::Display for OneOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let calls = self.0.iter().map(|one| {
            let file = match one.file {
                0 => String::new(),
                file => format!("/{}", file + 1),
            };
            let sign = if one.preempts { PREEMPTED } else { STOPPED };
            let place = one.place.as_ref();
            let place = place.map_or_else(String::new, |place| format!("{sign}{place}"));
            format!("{}{file}{place}", one.call.as_str())
        });
        f.write_str(&calls.collect::<Vec<_>>().join(","))
    }
}

fn parse_call(typed: &str) -> Result<OneCall, String> {
    let (call, place) = match typed.split_once([STOPPED, PREEMPTED]) {
        Some((call, place)) => (call, Some(place.to_owned())),
        None => (typed, None),
    };
    let preempts = typed.contains(PREEMPTED);
    let (name, file) = call.split_once('/').unwrap_or((call, "1"));
    let wrong =
        || format!("`{typed}` is no call; calls are load, unload, open, read, write, close, stat");
    let call = Call::named(name.trim()).ok_or_else(wrong)?;
    let file: u64 = file.parse().map_err(|_| wrong())?;
    let file = file.checked_sub(1).ok_or_else(wrong)?;
    if matches!(call, Call::Nothing | Call::UnloadNothing) || place.as_deref() == Some("") {
        return Err(wrong());
    }
    Ok(OneCall {
        call,
        file,
        place,
        preempts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_told_as_it_is_typed() {
        for typed in [
            "load,open,unload,read",
            "read/2@text_show+0x12,unload",
            "unload@free_module+0x1e,read@m_show+0x5",
            "unload@0xffffffff81001234,stat",
            "read~mod:text_show+0x4,unload",
        ] {
            assert_eq!(OneOrder::parse(typed).unwrap().to_string(), typed);
        }
    }

    #[test]
    fn what_is_no_schedule_is_named() {
        for typed in [
            "",
            "dance",
            "load,dance",
            "read@m_show,read",
            "unload,read@m_show",
            "read@m_show",
            "read/0,unload",
            "read@,unload",
            "nothing,read",
            "read~m_show,unload@free_module",
        ] {
            let error = OneOrder::parse(typed).unwrap_err();
            assert!(error.contains('`'), "{error}");
        }
    }
}
