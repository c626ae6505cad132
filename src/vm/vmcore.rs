//! A vmcore as QEMU writes it, and as others read it. QEMU writes makedumpfile's
//! flattened form, for sockets, and says nothing of the kernel in the header:
//! crash(8) minds neither, drgn both.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

/// What a flattened file begins with (makedumpfile.h, `MAKEDUMPFILE_SIGNATURE`),
/// and the bytes of its header.
const SIGNATURE: &[u8] = b"makedumpfile\0";
const HEADER_BYTES: usize = 4096;
/// Where a vmcore's header has the kernel's `struct new_utsname`
/// (`diskdump_mod.h`, `struct disk_dump_header`), and the bytes of its fields.
const UTSNAME_AT: u64 = 12;
const FIELD_BYTES: usize = 65;

/// The kernel that a vmcore is of, as uname(2) has it.
#[derive(Clone, Copy, Debug)]
pub struct Uname<'a> {
    /// Its release.
    pub release: &'a str,
    /// Its version.
    pub version: &'a str,
}

/// Writes a flattened vmcore in its proper form.
pub fn unflatten(mut flattened: &File, to: &File, uname: Uname<'_>) -> io::Result<()> {
    flattened.seek(SeekFrom::Start(0))?;
    let mut from = BufReader::new(flattened);
    let mut header = [0; HEADER_BYTES];
    from.read_exact(&mut header)?;
    if !header.starts_with(SIGNATURE) {
        let error = "QEMU wrote no flattened vmcore";
        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
    }
    let mut out = BufWriter::new(to);
    // Each record: where it belongs, how long it is, and it.
    loop {
        let [at, length] = [word(&mut from)?, word(&mut from)?];
        let (Ok(at), Ok(length)) = (u64::try_from(at), u64::try_from(length)) else {
            break;
        };
        out.seek(SeekFrom::Start(at))?;
        if io::copy(&mut from.by_ref().take(length), &mut out)? != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let fields = ["Linux", "(none)", uname.release, uname.version];
    for (field, at) in fields.into_iter().zip((UTSNAME_AT..).step_by(FIELD_BYTES)) {
        let mut bytes = [0; FIELD_BYTES];
        let length = field.len().min(FIELD_BYTES - 1);
        bytes[..length].copy_from_slice(&field.as_bytes()[..length]);
        out.seek(SeekFrom::Start(at))?;
        out.write_all(&bytes)?;
    }
    out.into_inner()?.sync_all()
}

fn word(from: &mut impl Read) -> io::Result<i64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(i64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flattened(records: &[(i64, &[u8])]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.resize(HEADER_BYTES, 0);
        for (at, data) in records {
            bytes.extend(at.to_be_bytes());
            bytes.extend(i64::try_from(data.len()).unwrap().to_be_bytes());
            bytes.extend(*data);
        }
        bytes
    }

    const UNAME: Uname<'_> = Uname {
        release: "6.1.192",
        version: "#1 SMP",
    };

    fn made(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut from = tempfile::tempfile()?;
        from.write_all(bytes)?;
        let mut to = tempfile::tempfile()?;
        unflatten(&from, &to, UNAME)?;
        to.seek(SeekFrom::Start(0))?;
        let mut made = Vec::new();
        to.read_to_end(&mut made)?;
        Ok(made)
    }

    #[test]
    fn records_go_where_they_belong_and_the_header_names_the_kernel() {
        let mut bytes = flattened(&[(8192, b"pages"), (0, b"KDUMP   ")]);
        bytes.extend([0xff; 16]);
        let core = made(&bytes).unwrap();
        assert!(core.starts_with(b"KDUMP   "));
        assert!(core.ends_with(b"pages"));
        assert_eq!(core.len(), 8192 + 5);
        assert_eq!(&core[12..18], b"Linux\0");
        assert_eq!(&core[142..150], b"6.1.192\0");
        assert_eq!(&core[207..214], b"#1 SMP\0");
    }

    #[test]
    fn half_a_file_is_none() {
        let cut = flattened(&[(0, b"KDUMP   ")]);
        assert!(made(&cut).is_err(), "no end");
        assert!(made(&cut[..cut.len() - 3]).is_err(), "a record cut off");
        assert!(made(b"\x7fELF").is_err());
    }
}
