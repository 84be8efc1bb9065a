//! The bytes of a DICOM file, inflated where its transfer syntax deflates them, never beyond a bound.

use std::io::Read;
use std::path::Path;
use std::sync::Mutex;

use crate::element::{DEFLATED_LITTLE_ENDIAN, Layout, Stop, walk, walk_data_set};

/// Deflated files are inflated one at a time, so that several of them together stay within the bound.
static INFLATING: Mutex<()> = Mutex::new(());

/// Returns the whole of a file and its layout. Offsets are into the bytes returned.
pub(crate) fn whole(path: &Path, memory: u64) -> std::io::Result<(Vec<u8>, Result<Layout, Stop>)> {
    let bytes = std::fs::read(path)?;
    let length = bytes.len() as u64;
    match walk(&bytes, length) {
        Ok(layout) if layout.transfer_syntax == DEFLATED_LITTLE_ENDIAN => Ok(inflated(bytes, layout, memory)),
        layout => Ok((bytes, layout)),
    }
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
