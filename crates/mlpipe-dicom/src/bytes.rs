//! The bytes of a DICOM file, inflated where its transfer syntax deflates them, never beyond a bound, and whether the
//! file is still the one whose header was read.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Mutex;
use std::time::SystemTime;

use crate::element::{DEFLATED_LITTLE_ENDIAN, Layout, Stop, walk, walk_data_set};

/// Deflated files are inflated one at a time, so that several of them together stay within the bound.
static INFLATING: Mutex<()> = Mutex::new(());

/// What a file's system entry said when its header was read; anything else later means other content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) length: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    pub(crate) fn of(file: &File) -> std::io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(std::io::Error::other("it is not a regular file"));
        }
        Ok(Stamp { length: metadata.len(), modified: metadata.modified().ok() })
    }
}

/// Reads the whole of a file over what `bytes` held, and its layout; none when the file is not the one of `stamp` any
/// more. Offsets are into the bytes.
pub(crate) fn whole(path: &Path, stamp: Stamp, memory: u64, bytes: &mut Vec<u8>) -> std::io::Result<Option<Layout>> {
    let mut file = File::open(path)?;
    let unchanged = |file: &File| Ok::<bool, std::io::Error>(Stamp::of(file)? == stamp);
    bytes.clear();
    if !unchanged(&file)? {
        return Ok(None);
    }
    bytes.reserve_exact(usize::try_from(stamp.length).unwrap_or(usize::MAX));
    file.by_ref().take(stamp.length).read_to_end(bytes)?;
    if bytes.len() as u64 != stamp.length || !unchanged(&file)? {
        return Ok(None);
    }
    let layout = match walk(bytes, stamp.length) {
        Ok(layout) if layout.transfer_syntax == DEFLATED_LITTLE_ENDIAN => {
            let (inflated, layout) = inflated(std::mem::take(bytes), layout, memory);
            *bytes = inflated;
            layout
        }
        layout => layout,
    };
    Ok(layout.ok())
}

/// Replaces the deflated data set of a file by the inflated one and walks it.
pub(crate) fn inflated(mut bytes: Vec<u8>, layout: Layout, memory: u64) -> (Vec<u8>, Result<Layout, Stop>) {
    let data_set = layout.data_set.min(bytes.len());
    let damaged = |message: String, layout: Layout| Stop::Damaged { message, so_far: Box::new(layout) };
    match inflate(&bytes[data_set..], memory) {
        Err(message) => (bytes, Err(damaged(message, layout))),
        Ok(inflated) => {
            bytes.truncate(data_set);
            bytes.extend(inflated);
            let layout = walk_data_set(&bytes, bytes.len() as u64, DEFLATED_LITTLE_ENDIAN.to_owned(), data_set);
            (bytes, layout)
        }
    }
}

fn inflate(deflated: &[u8], memory: u64) -> Result<Vec<u8>, String> {
    let _one_at_a_time = INFLATING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut inflated = Vec::new();
    let mut decoder = flate2::read::DeflateDecoder::new(deflated).take(memory + 1);
    decoder.read_to_end(&mut inflated).map_err(|error| format!("the deflated data set is damaged: {error}"))?;
    if inflated.len() as u64 > memory {
        return Err(format!("the deflated data set inflates to more than the {memory} bytes allowed (--max-memory)"));
    }
    Ok(inflated)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn inflating_stops_at_the_bound() {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&[0; 100_000]).expect("deflates");
        let deflated = encoder.finish().expect("deflates");
        assert!(deflated.len() < 1000);
        assert_eq!(inflate(&deflated, 100_000).expect("fits").len(), 100_000);
        assert!(inflate(&deflated, 99_999).expect_err("too much").contains("--max-memory"));
        assert!(inflate(&deflated[..20], 100_000).is_err());
    }
}
