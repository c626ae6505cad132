//! What a search stands on: where the kernel's and the module's functions are,
//! the reader's files, the scenes, and guests for them.

use super::{ExploreError, Subject};
use crate::decode::Lines;
use crate::decode::instructions::TaskSwitch;
use crate::decode::symbols::Symbols;
use crate::interleave::calls::Call;
use crate::interleave::driver::Driver;
use crate::interleave::guest::{CODE_LINE, FILE_LINE, LockStepPlan};
use crate::interleave::machine::{Layout, Setting, Watched};
use crate::interleave::search::Home;
use crate::interleave::standing::Patience;
use crate::race::action::{LoaderAction, ReaderAction};
use crate::session::lock_step::Guests;
use crate::session::request::Request;
use crate::vm::instrument::lock_step::{FILE_OPEN, MODULE_LOADED};
use crate::vm::protocol::MODULE_PATH;

/// Bytes of a read.
const READ_BYTES: usize = 4096;
/// Files that are searched at most: each multiplies the schedules.
const MOST_FILES: usize = 4;
/// System calls of the loader's side.
const LOADERS: &[&str] = &["delete_module", "finit_module"];
/// Before the name of a module's function.
const IN_MODULE: &str = "mod:";

/// What a search stands on.
pub(super) struct Ground<'a> {
    pub(super) guests: &'a Guests<'a>,
    /// The reader's files.
    pub(super) files: Vec<String>,
    /// The reader's calls on one file, in their order.
    pub(super) calls: &'static [Call],
    pub(super) symbols: Symbols,
    /// The module's, at its kept addresses.
    module_symbols: Symbols,
    pub(super) home: Home,
    pub(super) lines: Lines,
    switch: TaskSwitch,
    system_calls: Vec<&'static str>,
    /// Where nothing is watched.
    pub(super) bare: Layout,
    parts: Vec<Vec<u8>>,
}

impl<'a> Ground<'a> {
    /// Boots a guest and has it tell. It has loaded the module for that, so what
    /// is forced is forced on others.
    pub(super) fn survey(subject: &Subject<'a>) -> Result<Self, ExploreError> {
        let (guests, module) = (subject.guests, subject.module);
        let calls = reader_calls(subject.request)?;
        let plan = |symbols| LockStepPlan {
            loader_cpu: 0,
            reader_cpu: 1,
            setup_cpu: guests.setup_cpu(),
            forms: vec![MODULE_PATH.into()],
            name: module.to_owned(),
            symbols,
            read_bytes: READ_BYTES,
        };
        let parts = guests.pack(&plan(true), &[])?;
        let machine = guests.boot(&parts, None, None)?;
        let text = machine.text();
        let text = String::from_utf8_lossy(&text);
        let told = |prefix: &str| -> Vec<String> {
            let lines = text.lines().filter_map(|line| line.strip_prefix(prefix));
            lines.map(str::to_owned).collect()
        };
        let symbols = Symbols::of_text(&text);
        let mut files = told(FILE_LINE);
        files.truncate(MOST_FILES);
        let numbers: Vec<u64> = told(CODE_LINE)
            .iter()
            .flat_map(|line| line.split_ascii_whitespace())
            .filter_map(|word| word.parse().ok())
            .collect();
        let home = Home {
            code: numbers.first().copied().unwrap_or(0),
            bytes: numbers.get(1).copied().unwrap_or(0),
            modules: guests.arch.modules.clone(),
        };
        let switch = machine.learn_switch(guests.arch, &symbols)?;
        let mut system_calls: Vec<&'static str> = Vec::new();
        for call in calls {
            system_calls.extend(call.system_calls());
        }
        let bare = layout(guests, &symbols, switch, &system_calls, Vec::new())?;
        Ok(Self {
            guests,
            files,
            calls,
            module_symbols: Symbols::of_module(&text, module),
            symbols,
            home,
            lines: Lines::of(subject.vmlinux.as_deref()),
            switch,
            system_calls,
            bare,
            parts: guests.pack(&plan(false), &[])?,
        })
    }

    /// A layout in which this is watched.
    pub(super) fn watching(&self, watched: Vec<Watched>) -> Result<Layout, ExploreError> {
        layout(
            self.guests,
            &self.symbols,
            self.switch,
            &self.system_calls,
            watched,
        )
    }

    /// A guest that is ready for its first round.
    pub(super) fn boot<'b>(&'b self, layout: &'b Layout) -> Result<Driver<'b>, ExploreError> {
        let mut machine = self.guests.boot(&self.parts, Some(layout), None)?;
        machine.forget_reports();
        Ok(Driver {
            machine,
            arch: self.guests.arch,
            layout,
            cpus: [0, 1],
            state_offset: 0,
            patience: Patience::SEARCH,
            others_cpu_lives: false,
            home: Some(&self.home),
            cancel: self.guests.cancel,
        })
    }

    /// The scenes: an unload beside each of the reader's calls on each file.
    pub(super) fn scenes(&self) -> Vec<Setting> {
        let files = 0..self.files.len() as u64;
        files
            .flat_map(|file| self.calls.iter().map(move |&call| self.scene(call, file)))
            .collect()
    }

    /// The scene of an unload beside a call.
    pub(super) fn scene(&self, call: Call, file: u64) -> Setting {
        let open = self.calls.iter().position(|&one| one == Call::Open);
        let here = self.calls.iter().position(|&one| one == call);
        let after_open = open.is_some() && here > open;
        Setting {
            form: 0,
            prepared: MODULE_LOADED | if after_open { FILE_OPEN } else { 0 },
            calls: [Call::Unload, call],
            file,
            tidies: true,
        }
    }

    /// A kept address, by its function.
    pub(super) fn show(&self, address: u64) -> String {
        if self.home.holds(address) {
            let place = self.module_symbols.show(address);
            return format!("{IN_MODULE}{place}");
        }
        let place = self.symbols.show(address);
        // Of functions that share a name the address alone tells which.
        match self.find(&place) {
            Some(found) if found == address => place,
            _ => format!("{address:#x}"),
        }
    }

    /// The kept address of a place.
    pub(super) fn address(&self, place: &str) -> Result<u64, ExploreError> {
        self.find(place)
            .ok_or_else(|| ExploreError::NoPlace(place.to_owned()))
    }

    fn find(&self, place: &str) -> Option<u64> {
        if let Some(hex) = place.strip_prefix("0x") {
            return u64::from_str_radix(hex, 16).ok();
        }
        let (symbols, place) = match place.strip_prefix(IN_MODULE) {
            Some(place) => (&self.module_symbols, place),
            None => (&self.symbols, place),
        };
        let (name, offset) = match place.split_once("+0x") {
            Some((name, offset)) => (name, u64::from_str_radix(offset, 16).ok()?),
            None => (place, 0),
        };
        Some(symbols.address(name)? + offset)
    }

    /// The name of a file.
    pub(super) fn file(&self, index: u64) -> Option<String> {
        self.files.get(usize::try_from(index).ok()?).cloned()
    }
}

fn layout(
    guests: &Guests<'_>,
    symbols: &Symbols,
    switch: TaskSwitch,
    reader: &[&str],
    watched: Vec<Watched>,
) -> Result<Layout, ExploreError> {
    let calls = [LOADERS, reader];
    Ok(Layout::of_calls(
        guests.arch,
        symbols.clone(),
        switch,
        calls,
        watched,
    )?)
}

/// The calls of a reader on one file.
fn reader_calls(request: &Request) -> Result<&'static [Call], ExploreError> {
    let row = crate::race::races::named(&request.settings.race);
    let (loader, action) = match (&request.settings.driver, row) {
        (Some(driver), _) => (LoaderAction::Cycle, ReaderAction::named(&driver.action)),
        (None, Some(row)) => (row.loader, Some(row.reader)),
        (None, None) => (LoaderAction::Cycle, None),
    };
    let calls: &[Call] = match action {
        Some(ReaderAction::OpenRead | ReaderAction::ReadHead | ReaderAction::HoldRead) => {
            &[Call::Open, Call::Read, Call::Close]
        }
        Some(ReaderAction::OpenClose) => &[Call::Open, Call::Close],
        Some(ReaderAction::Write) => &[Call::Open, Call::Write, Call::Close],
        Some(ReaderAction::Stat) => &[Call::LookUp],
        Some(ReaderAction::BindUnbind | ReaderAction::Nothing) | None => &[],
    };
    if calls.is_empty() || loader != LoaderAction::Cycle {
        return Err(ExploreError::NoReader(super::race_of(request)));
    }
    Ok(calls)
}
