//! Journals written, torn, damaged and read back.

use super::*;

fn beat(cycles: u64) -> Record {
    Record::Beat(Beat {
        unix_ms: 1_700_000_000_000 + cycles,
        raced_s: cycles as f64 / 10.0,
        cycles,
        ..Beat::default()
    })
}

#[test]
fn a_cut_at_any_byte_loses_only_the_record_that_it_tears() {
    let records: Vec<Record> = (0..5).map(beat).collect();
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    for record in &records {
        bytes.extend(encode(record));
        ends.push(bytes.len());
    }
    for cut in 0..=bytes.len() {
        let (read, whole) = decode(&bytes[..cut]);
        let expected = ends.iter().filter(|&&end| end <= cut).count();
        assert_eq!(read, records[..expected], "cut at {cut}");
        assert_eq!(whole, if expected == 0 { 0 } else { ends[expected - 1] });
    }
}

#[test]
fn a_flipped_bit_anywhere_is_noticed() {
    let mut bytes = encode(&beat(1));
    let first = bytes.len();
    bytes.extend(encode(&beat(2)));
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            let (read, _) = decode(&damaged);
            // The checksum's hex may change its case and say the same.
            let same_sum = damaged.eq_ignore_ascii_case(&bytes) && (at % first) < 8;
            if !same_sum {
                let expected = usize::from(at >= first);
                assert_eq!(read.len(), expected, "byte {at} bit {bit}");
            }
        }
    }
}

#[test]
fn a_torn_end_is_cut_off_and_writing_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(folder.path(), 0).unwrap();
    journal.append(&beat(1)).unwrap();
    let path = journal.path().to_owned();
    drop(journal);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend(b"00000000 {\"rec");
    fs::write(&path, bytes).unwrap();

    let (mut journal, found) = Journal::resume(&path).unwrap();
    assert_eq!((found.records, found.torn_bytes), (vec![beat(1)], 14));
    journal.append(&beat(2)).unwrap();
    assert_eq!(journal.cost().records, 1);
    drop(journal);
    let (_, found) = Journal::resume(&path).unwrap();
    assert_eq!(
        (found.records, found.torn_bytes),
        (vec![beat(1), beat(2)], 0)
    );
}

#[test]
fn two_runs_cannot_share_a_journal() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::create(folder.path(), 0).unwrap();
    let second = Journal::resume(journal.path());
    assert!(matches!(second, Err(JournalError::InUse(_))));
    assert_eq!(list(folder.path()).unwrap(), [journal.path()]);
}

#[test]
fn what_a_thread_syncs_stands_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(folder.path(), 0).unwrap();
    for cycles in 0..5 {
        journal.append_behind(&beat(cycles)).unwrap();
    }
    journal.append(&beat(5)).unwrap();
    assert!(!journal.is_syncing());
    assert_eq!(journal.cost().records, 6);
    let path = journal.path().to_owned();
    drop(journal);
    let (_, found) = Journal::resume(&path).unwrap();
    assert_eq!(found.records, (0..6).map(beat).collect::<Vec<_>>());
}

/// Whose disk is dead already: a sync that never comes back.
#[test]
fn a_crash_is_written_though_the_sync_before_it_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(folder.path(), 0).unwrap();
    journal.append(&beat(1)).unwrap();
    let (release, held) = mpsc::channel::<()>();
    journal.syncing = Some(thread::spawn(move || {
        let _ = held.recv();
        Ok(Duration::ZERO)
    }));
    let patience = Duration::from_secs(60);
    assert!(
        journal
            .append_urgent(&[beat(2), beat(3)], patience)
            .unwrap()
    );
    let bytes = fs::read(journal.path()).unwrap();
    assert_eq!(decode(&bytes).0, [beat(1), beat(2), beat(3)]);
    drop(release);
}

/// A file that takes no more: a pipe that nobody empties.
#[test]
fn who_cannot_write_a_crash_does_not_wait_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let open = || OpenOptions::new().read(true).write(true).open(&path);
    let mut file = open().unwrap();
    // Its 64 KiB, by Linux's default.
    file.write_all(&vec![b'x'; 1 << 16]).unwrap();
    let mut journal = Journal::locked(file, path.clone()).unwrap();
    let written = journal.append_urgent(&[beat(1)], Duration::from_millis(50));
    assert!(!written.unwrap());
    // What came too late is written all the same once there is room.
    let mut reader = open().unwrap();
    reader.read_exact(&mut vec![0; 1 << 16]).unwrap();
    let mut late = vec![0; encode(&beat(1)).len()];
    reader.read_exact(&mut late).unwrap();
    assert_eq!(decode(&late).0, [beat(1)]);
}
