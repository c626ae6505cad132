//! `journalctl -o json` and `-o export` → the lines that a console would show.
//! The formats: <https://systemd.io/JOURNAL_EXPORT_FORMATS/>. One record is one
//! line, so that line numbers count records.

use std::collections::VecDeque;
use std::fmt::Write as _;

use serde_json::Value;

/// Most bytes of one record; a longer one is skipped.
const MOST_BYTES: usize = 16 << 20;
/// Records whose place is remembered: more than a report has lines.
const PLACES: usize = 1 << 16;

/// Which of the two formats a log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalFormat {
    /// An object a line.
    Json,
    /// `FIELD=value` lines, records parted by an empty line.
    Export,
}

impl JournalFormat {
    /// The format by the log's first bytes; none where it is no journal's.
    pub fn of(head: &[u8]) -> Option<Self> {
        let head = head.trim_ascii_start();
        let head = head.strip_prefix(b"\x1e").unwrap_or(head);
        if head.starts_with(b"__CURSOR=") || head.starts_with(b"__REALTIME_TIMESTAMP=") {
            return Some(Self::Export);
        }
        let line = head.split(|&b| b == b'\n').next().unwrap_or(head);
        let named = |name: &[u8]| line.windows(name.len()).any(|part| part == name);
        (head.starts_with(b"{") && (named(b"\"__CURSOR\"") || named(b"\"MESSAGE\"")))
            .then_some(Self::Json)
    }
}

/// What a line of a console needs of a record.
#[derive(Debug, Default)]
struct Record {
    kernel: bool,
    usec: Option<u64>,
    level: Option<u8>,
    facility: Option<u32>,
    ident: String,
    pid: String,
    message: Vec<u8>,
}

impl Record {
    fn field(&mut self, name: &str, value: &[u8]) {
        let text = || String::from_utf8_lossy(value).into_owned();
        match name {
            "MESSAGE" => self.message = value.to_vec(),
            "_TRANSPORT" => self.kernel = value == b"kernel",
            // printk's own time; the journal's where there is none.
            "_SOURCE_MONOTONIC_TIMESTAMP" => self.usec = text().parse().ok(),
            "__MONOTONIC_TIMESTAMP" => self.usec = self.usec.or(text().parse().ok()),
            "PRIORITY" => self.level = text().parse().ok(),
            "SYSLOG_FACILITY" => self.facility = text().parse().ok(),
            "SYSLOG_IDENTIFIER" => self.ident = text(),
            "_PID" => self.pid = text(),
            _ => {}
        }
    }

    /// The line: level and time as printk writes them, then the text; a
    /// program's with its name.
    fn write(&self, out: &mut Vec<u8>) {
        let kernel = self.kernel && self.facility.unwrap_or(0) == 0;
        let mut head = String::new();
        let facility = if kernel { 0 } else { 3 };
        let level = u32::from(self.level.unwrap_or(6)) & 7;
        // Writing to a String cannot fail.
        let _ = write!(head, "<{}>", facility << 3 | level);
        if let Some(usec) = self.usec {
            let _ = write!(head, "[{:>5}.{:06}] ", usec / 1_000_000, usec % 1_000_000);
        }
        if !kernel {
            let ident = if self.ident.is_empty() {
                "unknown"
            } else {
                &self.ident
            };
            let _ = write!(head, "{ident}[{}]: ", self.pid);
        }
        for (number, line) in self.message.split(|&b| b == b'\n').enumerate() {
            if number > 0 {
                out.push(b' ');
            } else {
                out.extend_from_slice(head.as_bytes());
            }
            out.extend_from_slice(line);
        }
        out.push(b'\n');
    }
}

/// Turns a journal's bytes, in chunks, into lines.
#[derive(Debug)]
pub struct JournalReader {
    format: JournalFormat,
    waiting: Vec<u8>,
    record: Record,
    /// Whether the record under way has a field yet.
    begun: bool,
    /// Bytes of an overlong record are skipped up to the next line.
    skipping: bool,
    searched: usize,
    /// Offset in the journal of the first byte that waits.
    base: u64,
    /// Offset in the journal at which the record under way begins.
    begins: u64,
    /// Bytes of lines given out.
    written: u64,
    /// Where each line begins, and its record in the journal.
    places: VecDeque<(u64, u64)>,
}

impl JournalReader {
    /// A reader at the beginning of a journal.
    pub fn new(format: JournalFormat) -> Self {
        Self {
            format,
            waiting: Vec::new(),
            record: Record::default(),
            begun: false,
            skipping: false,
            searched: 0,
            base: 0,
            begins: 0,
            written: 0,
            places: VecDeque::new(),
        }
    }

    /// The offset in the journal of the record whose line holds this offset in
    /// the lines; the oldest that is remembered where it is older.
    pub fn place(&self, offset: u64) -> u64 {
        let behind = self.places.partition_point(|(line, _)| *line <= offset);
        self.places
            .get(behind.saturating_sub(1))
            .map_or(0, |(_, record)| *record)
    }

    /// Gives out a line: `write` appends it.
    fn line(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        self.places.push_back((self.written, self.begins));
        if self.places.len() > PLACES {
            self.places.pop_front();
        }
        let before = out.len();
        write(out);
        self.written += (out.len() - before) as u64;
    }

    /// The lines that these bytes complete.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.waiting.extend_from_slice(bytes);
        let taken = match self.format {
            JournalFormat::Json => self.json(out),
            JournalFormat::Export => self.export(out),
        };
        self.waiting.drain(..taken);
        self.base += taken as u64;
        self.searched = self.searched.saturating_sub(taken);
        if self.waiting.len() > MOST_BYTES {
            self.base += self.waiting.len() as u64;
            self.waiting.clear();
            self.searched = 0;
            self.skipping = true;
        }
    }

    /// The journal has ended: the last record, if it is whole.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.feed(b"\n\n", out);
    }

    /// The end of the line that begins at `at`, if it is there.
    fn line_end(&mut self, at: usize) -> Option<usize> {
        let from = self.searched.max(at);
        let found = memchr::memchr(b'\n', &self.waiting[from..]).map(|end| from + end);
        self.searched = found.map_or(self.waiting.len(), |end| end + 1);
        found
    }

    fn json(&mut self, out: &mut Vec<u8>) -> usize {
        let mut at = 0;
        while let Some(end) = self.line_end(at) {
            self.begins = self.base + at as u64;
            let line = self.waiting[at..end].trim_ascii();
            let line = line.strip_prefix(b"\x1e").unwrap_or(line);
            if std::mem::take(&mut self.skipping) {
                self.line(out, |out| out.push(b'\n'));
            } else if !line.is_empty() {
                let record = object(line);
                self.line(out, |out| match record {
                    Some(record) => record.write(out),
                    None => out.push(b'\n'),
                });
            }
            at = end + 1;
        }
        at
    }

    fn export(&mut self, out: &mut Vec<u8>) -> usize {
        let mut at = 0;
        while let Some(end) = self.line_end(at) {
            if std::mem::take(&mut self.skipping) {
                at = end + 1;
                continue;
            }
            let line = &self.waiting[at..end];
            if line.is_empty() {
                if std::mem::take(&mut self.begun) {
                    let record = std::mem::take(&mut self.record);
                    self.line(out, |out| record.write(out));
                }
                at = end + 1;
                continue;
            }
            if !self.begun {
                self.begins = self.base + at as u64;
            }
            if let Some(equals) = line.iter().position(|&b| b == b'=') {
                let name = String::from_utf8_lossy(&line[..equals]);
                self.record.field(&name, &line[equals + 1..]);
                at = end + 1;
            } else {
                // Binary: the name alone, 8 bytes of length, the value.
                let Some((value, next)) = self.binary(end + 1) else {
                    self.searched = at;
                    return at;
                };
                let name = String::from_utf8_lossy(&self.waiting[at..end]).into_owned();
                let value = self.waiting[value..next - 1].to_vec();
                self.record.field(&name, &value);
                self.searched = next;
                at = next;
            }
            self.begun = true;
        }
        at
    }

    /// Where a binary value begins and where the next line does.
    fn binary(&self, at: usize) -> Option<(usize, usize)> {
        let length = self.waiting.get(at..at + 8)?;
        let length = u64::from_le_bytes(length.try_into().ok()?);
        let length = usize::try_from(length).ok().filter(|n| *n <= MOST_BYTES)?;
        let next = at + 8 + length + 1;
        (next <= self.waiting.len()).then_some((at + 8, next))
    }
}

/// The record that an object holds; none where it is no object.
fn object(line: &[u8]) -> Option<Record> {
    let Ok(Value::Object(fields)) = serde_json::from_slice(line) else {
        return None;
    };
    let mut record = Record::default();
    for (name, value) in &fields {
        match value {
            Value::String(text) => record.field(name, text.as_bytes()),
            // What is not UTF-8 is a list of bytes.
            Value::Array(bytes) => {
                let bytes: Vec<u8> = bytes
                    .iter()
                    .filter_map(|byte| u8::try_from(byte.as_u64()?).ok())
                    .collect();
                record.field(name, &bytes);
            }
            _ => {}
        }
    }
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = concat!(
        r#"{"__CURSOR":"s=1","_TRANSPORT":"kernel","PRIORITY":"1","SYSLOG_FACILITY":"0","_SOURCE_MONOTONIC_TIMESTAMP":"100000100","MESSAGE":"BUG: x"}"#,
        "\n",
        r#"{"__CURSOR":"s=2","_TRANSPORT":"syslog","PRIORITY":"6","SYSLOG_IDENTIFIER":"app","_PID":"12","__MONOTONIC_TIMESTAMP":"100000200","MESSAGE":"BUG: mine"}"#,
        "\n",
        r#"{"_TRANSPORT":"kernel","MESSAGE":[66,85,71,255]}"#,
        "\n"
    );
    const EXPORT: &[u8] = b"__CURSOR=s=1\n_TRANSPORT=kernel\nPRIORITY=1\n_SOURCE_MONOTONIC_TIMESTAMP=100000100\nMESSAGE\n\x06\0\0\0\0\0\0\0BUG: x\n\n__CURSOR=s=2\nSYSLOG_IDENTIFIER=app\n_PID=12\nMESSAGE=BUG: mine\n\n";

    fn read(format: JournalFormat, bytes: &[u8], chunk: usize) -> Vec<u8> {
        let mut reader = JournalReader::new(format);
        let mut out = Vec::new();
        for chunk in bytes.chunks(chunk) {
            reader.feed(chunk, &mut out);
        }
        reader.finish(&mut out);
        out
    }

    #[test]
    fn records_become_lines_in_any_chunks() {
        for chunk in [1, 7, 10_000] {
            assert_eq!(
                String::from_utf8_lossy(&read(JournalFormat::Json, JSON.as_bytes(), chunk)),
                "<1>[  100.000100] BUG: x\n<30>[  100.000200] app[12]: BUG: mine\n<6>BUG\u{fffd}\n"
            );
            assert_eq!(
                String::from_utf8_lossy(&read(JournalFormat::Export, EXPORT, chunk)),
                "<1>[  100.000100] BUG: x\n<30>app[12]: BUG: mine\n"
            );
        }
    }

    #[test]
    fn a_line_leads_back_to_its_record() {
        let mut reader = JournalReader::new(JournalFormat::Json);
        let mut out = Vec::new();
        reader.feed(JSON.as_bytes(), &mut out);
        let second_line = out.iter().position(|&b| b == b'\n').expect("a line") as u64 + 1;
        let second_record = JSON.find('\n').expect("a record") as u64 + 1;
        assert_eq!(reader.place(0), 0);
        assert_eq!(reader.place(second_line + 4), second_record);
    }

    #[test]
    fn a_format_is_told_by_its_first_bytes() {
        assert_eq!(
            JournalFormat::of(JSON.as_bytes()),
            Some(JournalFormat::Json)
        );
        assert_eq!(JournalFormat::of(EXPORT), Some(JournalFormat::Export));
        for other in ["[    1.000000] x", "{\"a\":1}", ""] {
            assert_eq!(JournalFormat::of(other.as_bytes()), None);
        }
    }

    #[test]
    fn a_record_without_an_end_does_not_fill_the_memory() {
        let mut reader = JournalReader::new(JournalFormat::Json);
        let mut out = Vec::new();
        for _ in 0..64 {
            reader.feed(&vec![b'x'; 1 << 20], &mut out);
            assert!(reader.waiting.len() <= MOST_BYTES);
        }
    }
}
